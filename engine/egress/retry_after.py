"""Read from a response's headers how long to wait before the next request."""

import math
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final

RETRY_AFTER_SECONDS_MAX: Final = 86_400.0


def read_retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Return the wait that `Retry-After` asks for (RFC 9110, 10.2.3), at most a day; None if absent or invalid.

    A date is compared with the response's own `Date`, so that clocks need not agree. OpenAI adds `retry-after-ms`.
    """
    milliseconds, after = headers.get("retry-after-ms"), headers.get("retry-after")
    if milliseconds is not None and (wait := _parse_number(milliseconds)) is not None:
        return _clamp(wait / 1000)
    if after is None:
        return None
    wait = _parse_number(after)
    return _clamp(wait) if wait is not None else _seconds_until(after, headers.get("date"))


def _seconds_until(moment: str, now: str | None) -> float | None:
    try:
        return _clamp((parsedate_to_datetime(moment) - parsedate_to_datetime(now or "")).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def _parse_number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _clamp(seconds: float) -> float:
    return min(max(seconds, 0.0), RETRY_AFTER_SECONDS_MAX)
