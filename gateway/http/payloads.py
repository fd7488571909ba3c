"""Payloads in responses: the value itself, or in lists a reference to a large value."""

from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import UUID

from domain.payload import Payload
from store.contents import JSON, ContentStore, resolve

Contents = Mapping[str, object]
"""Large values by their reference."""

NO_CONTENTS: Final[Contents] = {}


SHOWN_BYTES_MAX: Final = 256 * 1024
"""A value larger than this is shown as a reference with a link."""
ALL_SHOWN_BYTES_MAX: Final = 4 * 1024 * 1024
"""Maximum size of all values of one response that are read from the content store."""


async def fetch_contents(
    contents: ContentStore, workspace_id: UUID, payloads: Iterable[Payload], *, bytes_max: int = SHOWN_BYTES_MAX
) -> Contents:
    """Fetch the JSON that payloads refer to, each content once; files and large values stay references.

    Raises ContentMissing, Unavailable.
    """
    by_reference = {
        payload.ref: payload for payload in payloads if payload.ref is not None and payload.media_type in {None, JSON}
    }
    if not by_reference:
        return NO_CONTENTS
    found: dict[str, object] = {}
    left = max(bytes_max, ALL_SHOWN_BYTES_MAX)
    for ref, payload in by_reference.items():
        size = payload.bytes or 0
        if size <= min(bytes_max, left):
            found[ref] = await resolve(contents, workspace_id, payload)
            left -= size
    return found


def show_payload(payload: Payload, known: Contents = NO_CONTENTS, url: str | None = None) -> Any:  # noqa: ANN401  # JSON
    """Return the value of a payload, or a reference if its content was not fetched; `url` is where it can be read."""
    if payload.ref is None:
        return payload.value
    if payload.ref in known:
        return known[payload.ref]
    reference = {"$ref": payload.ref, "bytes": payload.bytes, "media_type": payload.media_type}
    return reference if url is None else {**reference, "url": url}
