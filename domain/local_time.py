"""Times of day in a time zone, as moments: "09:00 on the next working day in Europe/Berlin".

Rules of time zones are those of the package `tzdata` and of the operating system, as of today: a moment is computed
once, when the wait begins, and is stored in its fact.
"""

from collections.abc import Collection
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final, Literal
from zoneinfo import ZoneInfo

Day = Literal["any", "working", "next_working"]
DAYS_SEARCHED: Final = 400
SATURDAY: Final = 5


@lru_cache(maxsize=1024)
def is_time_zone(name: str) -> bool:
    """Return whether a name is one of a time zone."""
    try:
        ZoneInfo(name)
    except (ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
        return False
    except KeyError:
        return False
    return True


def find_next_time(now: datetime, clock: str, timezone: str, day: Day, holidays: Collection[date]) -> datetime | None:
    """Return the next moment after `now` at which clocks of a time zone show a time (`HH:MM`), in UTC.

    None if every day within 400 is a holiday. A time that the change to summer time skips is read in the offset before
    the change, so it is as much later as the clock moves; of a time that occurs twice it is the first (`fold=0`).
    """
    zone, at = ZoneInfo(timezone), time.fromisoformat(clock)
    today = now.astimezone(zone).date()
    for days in range(1 if day == "next_working" else 0, DAYS_SEARCHED):
        candidate = today + timedelta(days=days)
        if candidate in holidays or (day != "any" and candidate.weekday() >= SATURDAY):
            continue
        moment = datetime.combine(candidate, at, tzinfo=zone).astimezone(UTC)
        if moment > now:
            return moment
    return None
