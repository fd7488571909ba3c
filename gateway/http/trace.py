"""The trace of a request: taken from `traceparent` (W3C Trace Context, level 1), or started here."""

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


def join_trace(header: bytes | None, make_id: Callable[[], UUID]) -> Trace:
    """Return the caller's trace, or start one if the header is absent or invalid."""
    found = TRACEPARENT.fullmatch(header) if header is not None else None
    if found is not None:
        return Trace(found[1].decode(), found[0].decode())
    trace_id = make_id().hex
    return Trace(trace_id, f"00-{trace_id}-{trace_id[16:]}-01")
