"""Wake the feed when another process commits: one PostgreSQL NOTIFY a batch, and only when a process listens."""

import random
from typing import Final

from psycopg import AsyncConnection

from bus.feed import Feed
from store.errors import Unavailable
from store.log.log import Log
from store.outage_log import OutageLog
from store.postgres.connections import add_bounds, open_connection
from store.retrying import Retrying
from store.settings import STATEMENT_TIMEOUT_MS

APPLICATION_NAME: Final = "callsheet-listener"

LISTENERS: Final = """
select count(*) from pg_stat_activity where datname = current_database() and application_name = %s
"""
"""Count the processes that listen to this log."""


class Listener:
    """Listen for other processes' commits, and set whether this process must notify others of its own."""

    def __init__(self, conninfo: str, *, poll_seconds: float) -> None:
        """Create the listener; it counts the listeners every `poll_seconds`, with jitter."""
        self._conninfo = add_bounds(
            conninfo, statement_timeout_ms=STATEMENT_TIMEOUT_MS, application_name=APPLICATION_NAME
        )
        self._poll_seconds = poll_seconds

    async def run(self, log: Log, feed: Feed) -> None:
        """Listen until cancelled. Without a connection the poll of the feed replaces it."""

        def note_failure(_fault: Exception, _failures: int) -> None:
            log.wake_others = True

        outages = OutageLog("bus.listener", lost="bus.listener_lost", back="bus.listener_back")
        async for attempt in Retrying(Unavailable, on_failure=note_failure, outages=outages):
            with attempt:
                async with open_connection(self._conninfo, log.monitor.connections) as connection:
                    await connection.execute("listen callsheet_log")
                    attempt.reset()
                    await self._listen(connection, log, feed)

    async def _listen(self, connection: AsyncConnection, log: Log, feed: Feed) -> None:
        while True:
            cursor = await connection.execute(LISTENERS, [APPLICATION_NAME])
            row = await cursor.fetchone()
            log.wake_others = row is None or row[0] > 1
            jittered = self._poll_seconds * random.uniform(0.8, 1.2)  # noqa: S311  # jitter, nothing secret
            # Counted once a poll and not once a notification: there may be hundreds of those a second.
            async for notification in connection.notifies(timeout=jittered):
                feed.announce(int(notification.payload))
