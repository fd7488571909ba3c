"""Payloads in responses: the value itself, or in lists a reference to a large value."""

from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import UUID

from domain.payload import Payload
from store.contents import JSON, ContentStore, resolve

Contents = Mapping[str, object]
"""Large values by their reference."""

NO_CONTENTS: Final[Contents] = {}


async def fetch_contents(contents: ContentStore, workspace_id: UUID, payloads: Iterable[Payload]) -> Contents:
    """Fetch the JSON that payloads refer to, each content once; files stay references.

    Raises ContentMissing, Unavailable.
    """
    by_reference = {
        payload.ref: payload for payload in payloads if payload.ref is not None and payload.media_type in {None, JSON}
    }
    if not by_reference:
        return NO_CONTENTS
    return {ref: await resolve(contents, workspace_id, payload) for ref, payload in by_reference.items()}


def show_payload(payload: Payload, known: Contents = NO_CONTENTS) -> Any:  # noqa: ANN401  # JSON
    """Return the value of a payload, or a reference if its content was not fetched."""
    if payload.ref is None:
        return payload.value
    if payload.ref in known:
        return known[payload.ref]
    return {"$ref": payload.ref, "bytes": payload.bytes, "media_type": payload.media_type}
