"""Preferences of a request (RFC 7240): of them only `wait` is known here."""

import re
from typing import Final

WAIT: Final = re.compile(rb'(?:^|,)\s*wait\s*=\s*"?([0-9]{1,9})"?\s*(?=$|[,;])', re.IGNORECASE)


def wait_seconds(prefer: bytes | None, *, seconds_max: float) -> float:
    """Give how long the caller would have us wait, bounded; 0 where nothing is said or it cannot be read."""
    if prefer is None:
        return 0
    found = WAIT.search(prefer)
    return min(float(found[1]), seconds_max) if found is not None else 0
