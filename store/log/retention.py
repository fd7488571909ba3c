"""Delete command ids past their retention, a bounded number at a time."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Final, Never

from store.errors import Unavailable
from store.outage_log import OutageLog
from store.postgres.connections import Sessions
from store.settings import StoreSettings

PAUSE_SECONDS: Final = 60
COMMAND_IDS_MAX: Final = 1_000
"""Number of command ids deleted by one statement: it must not delay appends."""

LAST_APPENDED_AT: Final = "select recorded_at from log_head where position > 0"
"""Read when the last append was; no row for an empty log."""

_BEGINNING: Final = datetime(2000, 1, 1, tzinfo=UTC)

PRUNE: Final = """
delete from command_ids
 where command_id in (select command_id from command_ids where recorded_at < %b limit %b for update skip locked)
"""
"""Delete some command ids that were recorded before a time."""


async def prune_command_ids(sessions: Sessions, *, before: datetime, at_most: int) -> int:
    """Delete at most `at_most` command ids recorded before a time, and return their number. Raises Unavailable.

    A command that is sent again after its id is deleted counts as a new one.
    """
    return await sessions.run(PRUNE, (before, at_most))


async def keep_pruned(
    sessions: Sessions,
    settings: StoreSettings,
    *,
    at_most: int = COMMAND_IDS_MAX,
) -> Never:
    """Delete command ids as they pass their retention, until cancelled. Several processes may do so concurrently.

    Their age counts to the last append, by the log's own clock: the clock of one host may be hours ahead.
    """
    outages = OutageLog("store.retention", lost="retention.postponed", back="retention.resumed")
    while True:
        try:
            row = await sessions.one(LAST_APPENDED_AT, None)
            before = _BEGINNING if row is None else row[0] - timedelta(hours=settings.command_ids_hours)
            while await prune_command_ids(sessions, before=before, at_most=at_most) >= at_most:
                pass
        except Unavailable as fault:
            outages.note_failure(str(fault))
        else:
            outages.note_success()
        await asyncio.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311  # spreads processes out
