"""Payloads on the wire: the value itself; where it is large and only listed, a reference to it."""

from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import UUID

from domain.payload import Payload
from store.contents import ContentStore, resolve

Resolved = Mapping[str, object]
"""Contents by their reference."""

NOTHING_RESOLVED: Final[Resolved] = {}


async def resolved(contents: ContentStore, workspace_id: UUID, payloads: Iterable[Payload]) -> Resolved:
    """Read what payloads refer to, each content once. Raises ContentMissing, Unavailable."""
    by_reference = {payload.ref: payload for payload in payloads if payload.ref is not None}
    if not by_reference:
        return NOTHING_RESOLVED
    return {ref: await resolve(contents, workspace_id, payload) for ref, payload in by_reference.items()}


def value_of(payload: Payload, known: Resolved = NOTHING_RESOLVED) -> Any:  # noqa: ANN401  # JSON
    """Give the value of a payload; what has not been read stays a reference."""
    if payload.ref is None:
        return payload.value
    if payload.ref in known:
        return known[payload.ref]
    return {"$ref": payload.ref, "bytes": payload.bytes, "media_type": payload.media_type}
