"""Wakes the feed when another process commits: PostgreSQL NOTIFY, at most one a batch, and only when anyone listens."""

import asyncio
import random
from typing import Final

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo

from bus.feed import Feed
from store.log.log import Log
from store.postgres.connections import connected

APPLICATION_NAME: Final = "callsheet-listener"

LISTENERS: Final = """
select count(*) from pg_stat_activity where datname = current_database() and application_name = %s
"""
"""Count the processes that listen to this log."""


class Listener:
    """Listens for other processes' commits, and tells the log whether anyone else listens to ours."""

    def __init__(self, conninfo: str, *, poll_seconds: float) -> None:
        """Make the listener; the count of listeners is looked at every `poll_seconds`, with jitter."""
        self._conninfo = make_conninfo(conninfo, application_name=APPLICATION_NAME)
        self._poll_seconds = poll_seconds
        self._log = structlog.get_logger("bus.listener")

    async def run(self, log: Log, feed: Feed) -> None:
        """Listen until cancelled. Without a connection the feed's own poll carries on."""
        while True:
            try:
                async with connected(self._conninfo) as connection:
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
            # Counted once a poll, and not once a notification: there may be hundreds a second.
            async for told in connection.notifies(timeout=jittered):
                feed.committed_elsewhere(int(told.payload))
