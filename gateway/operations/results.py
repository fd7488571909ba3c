"""Results of handlers, and their encoding as status, headers and bytes."""

import asyncio
from typing import Any, Protocol, Self
from urllib.parse import quote, urlencode

from litestar.types import HTTPResponseStartEvent, Receive, Send
from msgspec import Raw, Struct

from commands.handler import Outcome
from domain.folded import Folded
from gateway.http.idempotency import REPLAYED
from gateway.http.replies import JSON, PIECE_BYTES, Header, Reply, encode
from projections.runtime.paging import Cursor


class Response(Protocol):
    """An HTTP response: `start` can still be changed before `deliver` sends everything."""

    start: HTTPResponseStartEvent

    async def deliver(self, receive: Receive, send: Send) -> None:
        """Send the response."""
        ...


class Result(Struct, frozen=True, kw_only=True):
    """A response with a body. `status` defaults to the first one that the operation declares.

    `version` becomes ETag, `position` Callsheet-Position, `location` the path of a new resource, `waited_seconds`
    Preference-Applied. A body of bytes is sent as it is, in the declared media type; None sends no body.
    """

    body: Struct | bytes | None
    status: int | None = None
    version: int | None = None
    position: int | None = None
    replayed: bool = False
    location: str | None = None
    waited_seconds: float | None = None

    @classmethod
    def of_read(cls, folded: Folded[Any], body: Struct) -> Self:
        """Return the response to a read of one resource."""
        return cls(body=body, version=folded.version, position=folded.position)

    @classmethod
    def of_change(
        cls, outcome: Outcome[Any], body: Struct, *, location: str | None = None, status: int | None = None,
        waited_seconds: float | None = None,
    ) -> Self:  # fmt: skip
        """Return the response to an executed command."""
        return cls(
            body=body,
            status=status,
            version=outcome.loaded.version,
            position=outcome.loaded.position,
            replayed=outcome.replayed,
            location=location,
            waited_seconds=waited_seconds,
        )


class Page(Struct, frozen=True, kw_only=True):
    """A page of a list. `next_cursor` is None on the last page; a text is sent as it is.

    `position` is that up to which the list has everything; None: that of the projections that the operation reads.
    """

    items: list[Any]
    next_cursor: Cursor | str | None
    position: int | None = None


async def encode_item(item: object) -> Raw:
    """Return an item of a page as JSON. Other requests go on after each large one: 200 may take 200 MB."""
    encoded = encode(item)
    if len(encoded) > PIECE_BYTES:
        await asyncio.sleep(0)
    return Raw(encoded)


class PageBody(Struct, frozen=True, kw_only=True):
    """A page of a list. `next_cursor` is null on the last page."""

    items: list[Any]
    next_cursor: str | None


def render_result(
    result: Result, default_status: int, media_type: Header = JSON, *, read_position: int | None = None
) -> Reply:
    """Return the response to send for a result; `read_position` is for those that have no position of their own."""
    headers: list[Header] = []
    if result.version is not None:
        headers.append((b"etag", b'"%d"' % result.version))
    position = read_position if result.position is None else result.position
    if position is not None:
        headers.append((b"callsheet-position", b"%d" % position))
    if result.replayed:
        headers.append(REPLAYED)
    if result.location is not None:
        headers.append((b"location", result.location.encode()))
    if result.waited_seconds is not None:
        headers.append((b"preference-applied", b"wait=%d" % result.waited_seconds))
    status = result.status or default_status
    if result.body is None:
        return Reply(status, headers)
    headers.append(media_type)
    return Reply(status, headers, result.body if isinstance(result.body, bytes) else encode(result.body))


def render_page(
    items: list[Any], next_cursor: str | None, path: str, query: dict[str, str], *, position: int | None
) -> Reply:
    """Return the response to send for a page, with a link to the next one (RFC 8288) that keeps the query."""
    headers: list[Header] = [JSON]
    if position is not None:
        headers.append((b"callsheet-position", b"%d" % position))
    if next_cursor is not None:
        kept = {name: text for name, text in query.items() if name != "ticket"}  # a ticket is used up by this page
        target = f"{quote(path, safe='/:')}?{urlencode({**kept, 'cursor': next_cursor})}"
        headers.append((b"link", f'<{target}>; rel="next"'.encode()))
    return Reply(200, headers, encode(PageBody(items=items, next_cursor=next_cursor)))
