"""Pages of lists: `limit`, `cursor` and `sort` in, `next_cursor` and a Link header out."""

import base64
import binascii
import re
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Struct

from gateway.http.positions import LogMark
from gateway.http.query import Query, choice_of, unusable
from gateway.http.rejections import OtherLog
from gateway.http.replies import Reply, json_reply
from projections.runtime.paging import Cursor, Sort

PAGED: Final = ("limit", "cursor", "sort")
"""The parameters that every list takes."""
LONGEST_CURSOR: Final = 200
LIMIT: Final = re.compile("[0-9]{1,9}")


class Kept(Struct, frozen=True, array_like=True):
    """A cursor as callers keep it, opaque to them."""

    log: str
    sort: Sort
    after: int


class Asked(Struct, frozen=True, kw_only=True):
    """Which page a caller asks for."""

    limit: int
    sort: Sort
    cursor: Cursor | None


class PageBody(Struct, frozen=True, kw_only=True):
    """A page as it is sent; `next_cursor` is null on the last one."""

    items: list[Any]
    next_cursor: str | None


class Paging:
    """Reads which page is asked for, and writes pages."""

    def __init__(self, mark: LogMark, *, items: int, items_max: int) -> None:
        """Make it; `items` when the caller does not say how many, `items_max` at most."""
        self._mark = mark
        self._items = items
        self._items_max = items_max

    def asked(self, query: Query) -> Asked:
        """Read `limit`, `sort` and `cursor`. Raises Malformed, OtherLog."""
        sort = choice_of(query, "sort", Sort) or Sort.NEWEST
        cursor = self._cursor(query["cursor"]) if "cursor" in query else None
        if cursor is not None and cursor.sort is not sort:
            if "sort" in query:
                raise unusable("cursor", f"belongs to the order {cursor.sort.value}")
            sort = cursor.sort
        return Asked(limit=self.limit(query), sort=sort, cursor=cursor)

    def limit(self, query: Query) -> int:
        """Read `limit`. Raises Malformed."""
        text = query.get("limit")
        if text is None:
            return self._items
        if not LIMIT.fullmatch(text) or not 1 <= int(text) <= self._items_max:
            raise unusable("limit", f"is a number from 1 to {self._items_max}")
        return int(text)

    def reply(self, path: str, query: Query, items: list[Any], following: Cursor | None) -> Reply:
        """Write a page."""
        return page_reply(path, query, items, None if following is None else self._kept(following))

    def _kept(self, cursor: Cursor) -> str:
        kept = msgspec.json.encode(Kept(self._mark.text, cursor.sort, cursor.after))
        return base64.urlsafe_b64encode(kept).decode().rstrip("=")

    def _cursor(self, text: str) -> Cursor:
        try:
            padded = text[:LONGEST_CURSOR] + "=" * (-len(text) % 4)
            kept = msgspec.json.decode(base64.b64decode(padded.encode("ascii"), b"-_", validate=True), type=Kept)
        except (binascii.Error, msgspec.DecodeError, UnicodeError) as fault:
            raise unusable("cursor", "is not one of ours") from fault
        if kept.log != self._mark.text:
            raise OtherLog
        return Cursor(kept.sort, kept.after)


def page_reply(path: str, query: Query, items: list[Any], next_cursor: str | None) -> Reply:
    """Write a page, with a link to the next one (RFC 8288) that keeps the rest of the query."""
    body = PageBody(items=items, next_cursor=next_cursor)
    if next_cursor is None:
        return json_reply(200, body)
    target = f"{quote(path, safe='/:')}?{urlencode({**query, 'cursor': next_cursor})}"
    return json_reply(200, body, (b"link", f'<{target}>; rel="next"'.encode()))
