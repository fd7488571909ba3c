"""Standing by for a lock that another process holds: when that one hangs, its session is ended and the lock is free.

A process that is stopped, or stuck, keeps its connection, and PostgreSQL keeps its locks and open transaction for it.
Nothing of what it held back can be committed once its session has ended, and it notices when it goes on.
"""

import time
from typing import Any, Final

from psycopg import AsyncConnection

END_HUNG: Final = """
select a.application_name, pg_terminate_backend(a.pid)
  from pg_locks l
  join pg_stat_activity a on a.pid = l.pid
 where l.locktype = 'advisory' and l.granted and a.datname = current_database()
   and l.classid::bigint = %(lock)b::bigint
   and l.objid::bigint = hashtext(%(name)b::text)::bigint & 4294967295
   and a.wait_event_type = 'Client' and pg_has_role(a.usesysid, 'usage')
   and a.state_change < clock_timestamp() - make_interval(secs => %(seconds)b::float8)
"""
"""End the session that holds a lock, if PostgreSQL has waited so long for its process to say something.

A session that executes a statement, or waits for a lock, is never ended: other bounds hold for it.
"""


class Standby:
    """Watches whoever holds the lock of a name, for one who would go on in its place."""

    def __init__(self, lock: int, name: str, hung_seconds: float) -> None:
        """Take the two keys of the lock, and how long its holder may leave undone what there is to do."""
        self._lock = lock
        self._name = name
        self._hung_seconds = hung_seconds
        self._stands_at = -1
        self._idle_since: float | None = None

    async def look(self, connection: AsyncConnection[Any], position: int, head: int) -> str | None:
        """See whether the holder goes on from a position while the log is ahead of it; ends its session if it hangs.

        Gives the name of the session that was ended. Time counts from when there was first seen to be something to do:
        so the pause of a log, or of whoever stands by, is not held against the holder.
        """
        if position >= head or position != self._stands_at:
            self._stands_at, self._idle_since = position, None if position >= head else time.monotonic()
        elif self._idle_since is None:
            self._idle_since = time.monotonic()
        elif time.monotonic() - self._idle_since > self._hung_seconds:
            return await self._end(connection)
        return None

    async def _end(self, connection: AsyncConnection[Any]) -> str | None:
        cursor = connection.cursor(binary=True)
        await cursor.execute(END_HUNG, {"lock": self._lock, "name": self._name, "seconds": self._hung_seconds})
        row = await cursor.fetchone()
        self._idle_since = None
        return None if row is None else str(row[0])
