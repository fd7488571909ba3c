"""The immutable versions in facts, as columns to write."""

from collections.abc import Callable, Sequence
from typing import Final

from msgspec.json import Encoder

from domain.fact import Fact
from store.log.records import Recorded
from store.postgres.arrays import Column, documents, longs, times, uuids

NumberedVersion = tuple[int, object] | None
"""The number and content of the version in a fact, or None if the fact has none."""

_encoder: Final = Encoder()


def pack_versions(facts: Sequence[Recorded], of: Callable[[Fact], NumberedVersion]) -> dict[str, Column] | None:
    """Return the versions in facts as arrays of equal length; None when there are none."""
    found = [(recorded, version) for recorded in facts if (version := of(recorded.fact)) is not None]
    if not found:
        return None
    return {
        "streams": uuids([recorded.stream_id for recorded, _ in found]),
        "workspaces": uuids([recorded.workspace_id for recorded, _ in found]),
        "numbers": longs([number for _, (number, _) in found]),
        "positions": longs([recorded.position for recorded, _ in found]),
        "created_at": times([recorded.recorded_at for recorded, _ in found]),
        "documents": documents([_encoder.encode(content) for _, (_, content) in found]),
    }
