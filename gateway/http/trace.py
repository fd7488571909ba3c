"""The trace that a request belongs to: taken from `traceparent` (W3C Trace Context, level 1) or begun here."""

import re
from collections.abc import Callable
from typing import Final
from uuid import UUID

from msgspec import Struct

TRACEPARENT: Final = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class Trace(Struct, frozen=True):
    """A trace as it is returned and stored: its id alone, and the whole `traceparent`."""

    trace_id: str
    traceparent: str


def trace_of(header: bytes | None, make_id: Callable[[], UUID]) -> Trace:
    """Take the caller's trace, or begin one where there is none that can be read."""
    found = TRACEPARENT.fullmatch(header) if header is not None else None
    if found is not None:
        return Trace(found[1].decode(), found[0].decode())
    begun = make_id().hex
    return Trace(begun, f"00-{begun}-{begun[16:]}-01")
