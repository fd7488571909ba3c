"""Requested pages of lists, and the cursors that continue a list."""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from gateway.operations.positions import PositionCodec
from projections.runtime.paging import Cursor, Sort

CURSOR_LENGTH_MAX: Final = 200
LIST_TAG_BYTES: Final = 6
PAGE_PARAMETER_NAMES: Final = frozenset({"limit", "cursor", "sort"})


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
    list_tag: str = ""


class CursorCodec:
    """Encodes the cursors of lists over one log."""

    def __init__(self, positions: PositionCodec) -> None:
        """Create a codec; `positions` knows the log."""
        self._positions = positions

    def encode(self, cursor: Cursor, list_tag: str) -> str:
        """Return a cursor of a list as text; `list_tag` is that of `compute_list_tag`."""
        encoded = msgspec.json.encode(EncodedCursor(self._positions.log_tag, cursor.sort, cursor.after, list_tag))
        return base64.urlsafe_b64encode(encoded).decode().rstrip("=")

    def decode(self, text: str) -> EncodedCursor:
        """Parse a cursor; the caller checks of which list it is. Raises ValueError, CursorReset."""
        try:
            padded = text[:CURSOR_LENGTH_MAX] + "=" * (-len(text) % 4)
            content = base64.b64decode(padded.encode("ascii"), b"-_", validate=True)
            decoded = msgspec.json.decode(content, type=EncodedCursor)
        except (binascii.Error, msgspec.DecodeError, UnicodeError) as fault:
            raise ValueError("must be a `next_cursor` of this list") from fault
        self._positions.check(decoded.log, decoded.after)
        return decoded


def compute_list_tag(path: str, texts: Mapping[str, str]) -> str:
    """Return a hash that identifies a list: its path and its filters, from the texts of the query."""
    filters = sorted((name, text) for name, text in texts.items() if name not in PAGE_PARAMETER_NAMES)
    identity = msgspec.json.encode((path, filters))
    return hashlib.blake2b(identity, digest_size=LIST_TAG_BYTES).hexdigest()
