"""Wake the feed when another process commits: one PostgreSQL NOTIFY a batch, and only when a process listens."""

import asyncio
import random
from typing import Final

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo

from bus.feed import Feed
from store.log.log import Log
from store.postgres.connections import open_connection

APPLICATION_NAME: Final = "callsheet-listener"

LISTENERS: Final = """
select count(*) from pg_stat_activity where datname = current_database() and application_name = %s
"""
"""Count the processes that listen to this log."""


class Listener:
    """Listen for other processes' commits, and set whether this process must notify others of its own."""

    def __init__(self, conninfo: str, *, poll_seconds: float) -> None:
        """Create the listener; it counts the listeners every `poll_seconds`, with jitter."""
        self._conninfo = make_conninfo(conninfo, application_name=APPLICATION_NAME)
        self._poll_seconds = poll_seconds
        self._log = structlog.get_logger("bus.listener")

    async def run(self, log: Log, feed: Feed) -> None:
        """Listen until cancelled. Without a connection the poll of the feed replaces it."""
        while True:
            try:
                async with open_connection(self._conninfo) as connection:
                    await connection.execute("listen callsheet_log")
                    await self._listen(connection, log, feed)
            except psycopg.OperationalError as lost:
                self._log.warning("bus.listener_lost", reason=str(lost).strip())
                log.wake_others = True
                await asyncio.sleep(self._poll_seconds * random.uniform(0.5, 1.0))  # noqa: S311  # jitter, nothing secret

    async def _listen(self, connection: AsyncConnection, log: Log, feed: Feed) -> None:
        while True:
            cursor = await connection.execute(LISTENERS, [APPLICATION_NAME])
            row = await cursor.fetchone()
            log.wake_others = row is None or row[0] > 1
            jittered = self._poll_seconds * random.uniform(0.8, 1.2)  # noqa: S311  # jitter, nothing secret
            # Counted once a poll and not once a notification: there may be hundreds of those a second.
            async for notification in connection.notifies(timeout=jittered):
                feed.announce(int(notification.payload))
