"""Which page of a list is requested, and the cursors that continue a list."""

import base64
import binascii
from typing import Final

import msgspec
from msgspec import Struct

from gateway.http.rejections import OtherLog
from projections.runtime.paging import Cursor, Sort

CURSOR_LENGTH_MAX: Final = 200


class PageRequest(Struct, frozen=True, kw_only=True):
    """The page that a caller asks for with `limit`, `cursor` and `sort`."""

    limit: int
    sort: Sort
    cursor: Cursor | None


class EncodedCursor(Struct, frozen=True, array_like=True):
    """A cursor as callers keep it, opaque to them."""

    log: str
    sort: Sort
    after: int


class CursorCodec:
    """Encodes the cursors of lists over one log."""

    def __init__(self, log_tag: str) -> None:
        """Create a codec; `log_tag` identifies the log."""
        self._log_tag = log_tag

    def encode(self, cursor: Cursor) -> str:
        """Return a cursor as text."""
        encoded = msgspec.json.encode(EncodedCursor(self._log_tag, cursor.sort, cursor.after))
        return base64.urlsafe_b64encode(encoded).decode().rstrip("=")

    def decode(self, text: str) -> Cursor:
        """Parse a cursor. Raises ValueError, OtherLog."""
        try:
            padded = text[:CURSOR_LENGTH_MAX] + "=" * (-len(text) % 4)
            content = base64.b64decode(padded.encode("ascii"), b"-_", validate=True)
            decoded = msgspec.json.decode(content, type=EncodedCursor)
        except (binascii.Error, msgspec.DecodeError, UnicodeError) as fault:
            raise ValueError("must be a `next_cursor` of this list") from fault
        if decoded.log != self._log_tag:
            raise OtherLog
        return Cursor(decoded.sort, decoded.after)
