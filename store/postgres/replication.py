"""Notice that PostgreSQL did not wait for a synchronous standby, which it reports as success with a warning.

When the wait of a commit for its standby is cancelled (`pg_cancel_backend`, a client's cancel request), the commit
stands on this server and may be missing on the standby, and the statement succeeds. The warning has SQLSTATE 01000,
which many warnings share, and its text depends on `lc_messages`; so it is recognised by the source file that reports
it. Source: SyncRepWaitForLSN in PostgreSQL's src/backend/replication/syncrep.c.
"""

import asyncio
from typing import Any, Final

from psycopg import BaseConnection
from psycopg.errors import Diagnostic

from store.errors import OutcomeUnknown, Unavailable
from store.postgres.connections import Sessions

SOURCE_FILE: Final = "syncrep.c"
"""Nothing else in this file reports to clients."""

SEVERITIES: Final = frozenset({"WARNING", "ERROR", "FATAL"})


class ReplicationNotices:
    """Watch the notices of one connection for a cancelled wait for a synchronous standby."""

    def __init__(self, connection: BaseConnection[Any]) -> None:
        """Watch a connection for as long as it is open."""
        self._connection = connection
        self._cancelled: str | None = None
        connection.add_notice_handler(self._receive)

    def _receive(self, notice: Diagnostic) -> None:
        if notice.severity_nonlocalized in SEVERITIES and (notice.source_file or "").endswith(SOURCE_FILE):
            self._cancelled = notice.message_primary or "the wait for the synchronous standby was cancelled"

    def close(self) -> None:
        """Stop watching, for a connection that is used for something else afterwards."""
        self._connection.remove_notice_handler(self._receive)

    def take_cancelled(self) -> str | None:
        """Return the message of a wait that was cancelled since the last call, or None."""
        cancelled, self._cancelled = self._cancelled, None
        return cancelled


FENCE: Final = """
select case when current_setting('synchronous_standby_names') <> ''
            then pg_logical_emit_message(true, 'callsheet', 'confirm')::text end
"""
"""Write to the WAL without changing anything: the commit waits until the standby has all that was committed before."""


async def confirm_replicated(sessions: Sessions, seconds: float) -> None:
    """Wait until the synchronous standby, if there is one, has everything that can be read from the log now.

    A commit whose wait was cancelled can be read and may still be lost in a failover, so an answer that rests on what
    was read (a repeated command, a no-op) is confirmed first. Raises OutcomeUnknown, Unavailable.
    """
    try:
        async with asyncio.timeout(seconds), sessions.connection() as connection:
            notices = ReplicationNotices(connection)
            try:
                await connection.execute(FENCE)
            finally:
                notices.close()
    except TimeoutError as late:
        raise OutcomeUnknown(f"the synchronous standby did not confirm within {seconds} s: outcome unknown") from late
    except Unavailable as away:  # what was read is committed here, so that "nothing took effect" would not be true
        raise OutcomeUnknown(f"the synchronous standby did not confirm: {away}; outcome unknown") from away
    if notices.take_cancelled() is not None:
        raise OutcomeUnknown("the wait for the synchronous standby was cancelled: outcome unknown")
