"""A role that one process has at a time, by an advisory lock of PostgreSQL; other processes stand by for it.

The worker of a projection, the relay and a rebuild have such roles. The role belongs to a session:

- Failover: a process that dies loses its session and with it the role. A standby takes it within `standby_seconds`.
- Hung holder: a process that is stopped or stuck keeps its session, its locks and its open transaction. When a standby
  has seen work undone for `hung_seconds`, and PostgreSQL has waited as long for the holder's next statement, the
  standby ends that session.
- Fencing: write what the role protects over the connection that holds it. What an ended session had not committed is
  rolled back, and what a hung process sends when it wakes up is refused. Move positions by compare-and-set (`update …
  where position = <expected>`), and raise RoleLost when no row matches. Effects outside of that session (a request, a
  published message) may still come late: give them an id that their receiver deduplicates by.

`docs/decisions/0024-hung-holders-lose-their-session.md` says why the session is the epoch.
"""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

from msgspec import Struct
from psycopg import AsyncConnection

from store.postgres.connections import OpenConnections, open_connection

Connection = AsyncConnection[tuple[Any, ...]]

TRY_LOCK: Final = "select pg_try_advisory_lock(%(lock)b::int, hashtext(%(name)b::text))"
"""Take the lock for as long as the session lives, unless another session has it."""

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
"""End the session that holds a lock, if PostgreSQL has waited that long for its next statement.

A session that executes a statement, or waits for a lock, is never ended: statement_timeout bounds it.
"""


class RoleLost(Exception):  # noqa: N818  # an expected answer: stand by for the role again
    """Another process has the role: a row that only its holder moves is not where this process left it."""


class RoleBounds(Struct, frozen=True, kw_only=True):
    """Bounds of a role: the seconds between attempts of a standby, and how long a holder may make no progress."""

    standby_seconds: float = 1.0
    hung_seconds: float = 10.0


DEFAULT_BOUNDS: Final = RoleBounds()


class Progress(NamedTuple):
    """Progress of a role's holder: its position and the head of the log; there is work while `position < head`."""

    position: int
    head: int


class HolderWatch:
    """Watch the holder of a lock for a standby, and end its session when it hangs."""

    def __init__(self, lock: int, name: str, hung_seconds: float) -> None:
        """Create a watch of the lock with these two keys."""
        self._lock = lock
        self._name = name
        self._hung_seconds = hung_seconds
        self._position = -1
        self._idle_since: float | None = None

    async def check(self, connection: Connection, progress: Progress) -> str | None:
        """End the session of the holder if it hangs; return the application name of the ended session.

        Time counts from the first check that saw work, so a pause of the log or of the standby is not held against
        the holder.
        """
        has_work = progress.position < progress.head
        if not has_work or progress.position != self._position:
            self._position, self._idle_since = progress.position, time.monotonic() if has_work else None
        elif self._idle_since is None:
            self._idle_since = time.monotonic()
        elif time.monotonic() - self._idle_since > self._hung_seconds:
            return await self._end(connection)
        return None

    async def _end(self, connection: Connection) -> str | None:
        cursor = connection.cursor(binary=True)
        await cursor.execute(END_HUNG, {"lock": self._lock, "name": self._name, "seconds": self._hung_seconds})
        row = await cursor.fetchone()
        self._idle_since = None
        return None if row is None else str(row[0])


class ExclusiveRole:
    """One role: an advisory lock with two keys, the kind of role and the name within the kind."""

    def __init__(self, lock: int, name: str, bounds: RoleBounds = DEFAULT_BOUNDS) -> None:
        """Create it; nothing is locked yet. `lock` is 32 bits that no other kind of role uses in this database."""
        self._lock = lock
        self._name = name
        self._bounds = bounds

    async def try_acquire(self, connection: Connection) -> bool:
        """Try to take the role for as long as the connection lives; return False when another session has it."""
        cursor = await connection.execute(TRY_LOCK, {"lock": self._lock, "name": self._name})
        row = await cursor.fetchone()
        return row is not None and bool(row[0])

    async def acquire(
        self,
        connection: Connection,
        read_progress: Callable[[Connection], Awaitable[Progress]],
        on_hung: Callable[[str, int], None],
    ) -> None:
        """Stand by until this connection has the role.

        `read_progress` is called after each try that found the role taken. `on_hung` is called with the application
        name of a session that was ended, and the position that it was hanging at.
        """
        watch = HolderWatch(self._lock, self._name, self._bounds.hung_seconds)
        while not await self.try_acquire(connection):
            progress = await read_progress(connection)
            if (ended := await watch.check(connection, progress)) is not None:
                on_hung(ended, progress.position)
            await asyncio.sleep(self._bounds.standby_seconds * random.uniform(0.5, 1.0))  # noqa: S311  # jitter, nothing secret

    @asynccontextmanager
    async def hold(
        self,
        conninfo: str,
        read_progress: Callable[[Connection], Awaitable[Progress]],
        on_hung: Callable[[str, int], None],
        among: OpenConnections | None = None,
    ) -> AsyncGenerator[Connection]:
        """Open a connection, stand by for the role, and yield the connection that has it; release it at the end.

        The connection is added to `among`, if given. Raises DatabaseAway.
        """
        async with open_connection(conninfo, among) as connection:
            await self.acquire(connection, read_progress, on_hung)
            yield connection
