"""Preferences of a request (RFC 7240): of them only `wait` is known here."""

import re
from functools import lru_cache
from typing import Final

WAIT: Final = re.compile(rb'(?:^|,)\s*wait\s*=\s*"?([0-9]{1,9})"?\s*(?=$|[,;])', re.IGNORECASE)


@lru_cache(maxsize=64)
def wait_seconds(prefer: bytes | None, *, seconds_max: float) -> float:
    """Give how long the caller would have us wait, bounded; 0 where nothing is said or it cannot be read.

    Callers say the same again and again: 0.1 µs in place of 0.8.
    """
    if prefer is None:
        return 0
    found = WAIT.search(prefer)
    return min(float(found[1]), seconds_max) if found is not None else 0
