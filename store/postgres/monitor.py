"""Watch whether the database is there, for a whole process: `/readyz`, requests that fail at once, and the log lines.

Everything that uses the database finds out by itself when it is away, and connects again by itself. The monitor adds
what no single user can know: that a silent server has hung and is not merely slow, so that callers get their answer
now, and that a server is read-only although nobody has written.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final, Never

import structlog
from msgspec import Struct
from psycopg.conninfo import make_conninfo
from psycopg.errors import QueryCanceled, ReadOnlySqlTransaction

from store.errors import DatabaseAway, NotAnswered, describe_outage, is_database_away
from store.postgres.connections import Backend, Connection, OpenConnections, add_bounds, connect

PROBE: Final = "select current_setting('transaction_read_only')::boolean"
"""True on a standby, and where writes are switched off, as managed servers do when their disk is full."""

END_GHOST: Final = """
select pg_terminate_backend(pid) from pg_stat_activity
 where pid = %(pid)b::int and usename = current_user and datname = current_database()
   and backend_start < clock_timestamp() - make_interval(secs => %(age)b::float8)
"""
"""End the session of a connection that this process gave up, unless its id belongs to a younger session by now.

After a silent cut the server does not know that it is dead: it holds roles and a place for a connection.
"""

CONNECT_SECONDS: Final = 2
APPLICATION_NAME: Final = "callsheet-monitor"


class MonitorBounds(Struct, frozen=True, kw_only=True):
    """Interval between probes of the database, and how long it may be silent until it counts as away."""

    probe_seconds: float = 1.0
    silent_seconds: float = 3.0


class Outage(Struct, frozen=True, kw_only=True):
    """Outage of the database: its reason, since when (monotonic), and whether the database can still be read."""

    reason: str
    since: float
    is_readable: bool = False


class DatabaseMonitor:
    """Probe the database over a connection of its own. `run` must be running; until then nothing is known."""

    def __init__(self, conninfo: str, bounds: MonitorBounds) -> None:
        """Create a monitor that takes the database for present."""
        timeout_ms = int(bounds.silent_seconds * 1_000)
        bounded = add_bounds(conninfo, statement_timeout_ms=timeout_ms, application_name=APPLICATION_NAME)
        self._conninfo = make_conninfo(bounded, connect_timeout=CONNECT_SECONDS)
        self._bounds = bounds
        self._connection: Connection | None = None
        self._on_lost: tuple[Callable[[], None], ...] = ()
        self._on_back: tuple[Callable[[float], None], ...] = ()
        self._ghosts: list[Backend] = []
        self._log = structlog.get_logger("store.database")
        self.outage: Outage | None = None
        self.connections = OpenConnections()
        """The connections that are dropped when the database goes away."""

    def subscribe(self, *, on_lost: Callable[[], None], on_back: Callable[[float], None]) -> None:
        """Register callbacks: the database cannot be reached any more; it can be read and written again.

        `on_back` gets the time (monotonic) since when it was away: older connections may lead to another server.
        """
        self._on_lost = (*self._on_lost, on_lost)
        self._on_back = (*self._on_back, on_back)

    def check_readable(self) -> None:
        """Raise DatabaseAway while the database is known to be away."""
        if self.outage is not None and not self.outage.is_readable:
            raise DatabaseAway(self.outage.reason)

    def check_writable(self) -> None:
        """Raise DatabaseAway while the database is known to be away or read-only."""
        if self.outage is not None:
            raise DatabaseAway(self.outage.reason)

    async def run(self) -> Never:
        """Probe until cancelled."""
        try:
            while True:
                await self._probe()
                await asyncio.sleep(self._bounds.probe_seconds * (1.0 if self.outage is None else 0.5))
        finally:
            await self._disconnect()

    async def _probe(self) -> None:
        """Probe once; over a new connection when the old one fails, since an administrator may have ended it."""
        had_connection = self._connection is not None
        try:
            await self._ask()
        except Exception as fault:
            if not is_database_away(fault):
                raise
            await self._disconnect()
            if isinstance(fault, QueryCanceled):
                return
            if had_connection and not isinstance(fault, NotAnswered | ReadOnlySqlTransaction):
                await self._probe()
                return
            self._lose(fault)
        else:
            self._recover()

    async def _ask(self) -> None:
        """Raise what keeps the database from answering. Raises ReadOnlySqlTransaction, NotAnswered."""
        if self._connection is None:
            self._connection = await connect(self._conninfo)
            self._connection.silent_seconds = self._bounds.silent_seconds
        row = await (await self._connection.execute(PROBE)).fetchone()
        if row is None or row[0]:
            raise ReadOnlySqlTransaction
        while self._ghosts:
            await self._connection.execute(END_GHOST, self._describe_ghost(self._ghosts[-1]))
            self._ghosts.pop()

    def _describe_ghost(self, ghost: Backend) -> dict[str, int | float]:
        return {"pid": ghost.pid, "age": max(0.0, time.monotonic() - ghost.opened_at - CONNECT_SECONDS)}

    async def _disconnect(self) -> None:
        """Close the connection: the next one may lead to another server."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()

    def _lose(self, fault: Exception) -> None:
        reason = describe_outage(fault)
        is_readable = isinstance(fault, ReadOnlySqlTransaction)
        before = self.outage
        self.outage = Outage(
            reason=reason, since=time.monotonic() if before is None else before.since, is_readable=is_readable
        )
        if before is None or before.reason != reason:
            self._log.warning("database.away", reason=reason, error=str(fault).strip() or type(fault).__name__)
        if not is_readable and (before is None or before.is_readable):
            self._ghosts += self.connections.abandon()
            for told in self._on_lost:
                told()

    def _recover(self) -> None:
        outage, self.outage = self.outage, None
        if outage is None:
            return
        away_seconds = round(time.monotonic() - outage.since, 1)
        self._log.warning("database.back", away_seconds=away_seconds, reason=outage.reason)
        self._ghosts += self.connections.abandon(opened_before=outage.since)
        for told in self._on_back:
            told(outage.since)
