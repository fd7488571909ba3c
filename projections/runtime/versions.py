"""The immutable versions that facts bring, as columns to write."""

from collections.abc import Callable, Sequence
from typing import Final

from msgspec.json import Encoder

from domain.fact import Fact
from store.log.records import Recorded
from store.postgres.arrays import Column, documents, longs, times, uuids

Brought = tuple[int, object] | None
"""A version's number and its content, where a fact brings one."""

_encoder: Final = Encoder()


def brought(facts: Sequence[Recorded], of: Callable[[Fact], Brought]) -> dict[str, Column] | None:
    """Give the versions that facts bring as arrays of equal length, None where they bring none."""
    found = [(one, version) for one in facts if (version := of(one.fact)) is not None]
    if not found:
        return None
    return {
        "streams": uuids([one.stream_id for one, _ in found]),
        "workspaces": uuids([one.workspace_id for one, _ in found]),
        "numbers": longs([number for _, (number, _) in found]),
        "positions": longs([one.position for one, _ in found]),
        "created_at": times([one.recorded_at for one, _ in found]),
        "documents": documents([_encoder.encode(content) for _, (_, content) in found]),
    }
