"""Connections to PostgreSQL, with a timeout on every wait."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from math import inf
from time import monotonic
from typing import Any, Final, LiteralString, NamedTuple, Self, TypeVar, cast
from weakref import WeakSet

import psycopg
from psycopg import AsyncConnection, AsyncCursor
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool

from store.errors import DatabaseAway, NotAnswered, describe_outage, is_database_away

T = TypeVar("T")
Parameters = Sequence[Any] | Mapping[str, Any] | None

BOUNDS: Final = {
    "connect_timeout": 3,
    "keepalives_idle": 4,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 6_000,
}
"""Defaults for what the connection string leaves out: seconds, and milliseconds for tcp_user_timeout.

A connection that a router has forgotten is noticed 6 to 10 seconds after its last answer.
"""

SILENT_SECONDS_MORE: Final = 2.0
"""How long after its own statement timeout a server may be silent: then it is stopped, or the network is cut."""

CANCEL_SECONDS: Final = 1.0
"""How long a server may take to accept the cancellation of a statement; then the connection is dropped."""

RECONNECT_SECONDS: Final = 2.0
"""How long a pool tries by itself to replace a connection; then the next caller starts a new attempt.

psycopg's pool doubles its delay up to 300 seconds: after outages of minutes it came back 44 to 99 seconds late.
"""

SESSION_SETTING: Final = re.compile(r"-c\s*([A-Za-z_.]+)=((?:\\.|\S)*)(?:\s+|$)")

SET_SESSION: Final = """
select pg_backend_pid(), array(
    select set_config(name, value, false)
      from unnest(%s::text[], %s::text[]) with ordinality as setting(name, value, n) order by n)
"""
"""Set parameters of a session after it has been opened: PgBouncer refuses most of them in the startup packet."""

ASYNC_COMMIT: Final = "set synchronous_commit = off"
"""Commit without waiting for the disk: for what can be computed again from the log.

A crash loses the last commits, rows and their checkpoint together: the work is repeated, and nothing is skipped.
"""


def add_bounds(conninfo: str, *, statement_timeout_ms: int, application_name: str) -> str:
    """Return a connection string with timeouts, so that no session holds the head row or waits for ever, and in UTC.

    Options of the string (such as search_path) are kept; ours follow them, and the last one wins in PostgreSQL.
    """
    given = conninfo_to_dict(conninfo)
    ours = (
        f"-c statement_timeout={statement_timeout_ms} -c idle_in_transaction_session_timeout=60000 -c timezone=UTC "
        # A cancelled wait for a synchronous standby is a warning: a role may not hide it.
        "-c client_min_messages=warning"
    )
    options = f"{given.get('options') or ''} {ours}".strip()
    return make_conninfo(add_network_bounds(conninfo), application_name=application_name, options=options)


def add_network_bounds(conninfo: str) -> str:
    """Return a connection string with `BOUNDS` for what it leaves out, for sessions whose statements may take long."""
    given = conninfo_to_dict(conninfo)
    return make_conninfo(conninfo, **{name: value for name, value in BOUNDS.items() if name not in given})


def count_cancellations() -> int:
    """Return how often the running task has been cancelled so far."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


@contextmanager
def cancellable() -> Generator[None]:
    """Raise CancelledError when the task was cancelled within the block and the block did not raise it.

    Before Python 3.12 `asyncio.wait_for`, which psycopg's pool waits with, loses a cancellation that comes with the
    result or with a failure (python/cpython#86296), and the pool takes one for a fault of a connection that it checks.
    A task that misses its cancellation continues, and the task that cancelled it waits forever.
    """
    before = count_cancellations()
    try:
        yield
    except Exception as fault:
        if count_cancellations() > before:
            raise asyncio.CancelledError from fault
        raise
    if count_cancellations() > before:
        raise asyncio.CancelledError


def split_session_settings(conninfo: str) -> tuple[str, dict[str, str]]:
    """Return a connection string without the settings in its `options`, and these settings.

    Options of another form than `-c name=value` stay in the string.
    """
    parameters = conninfo_to_dict(conninfo)
    options = str(parameters.pop("options", None) or "")
    settings = {name: re.sub(r"\\(.)", r"\1", value) for name, value in SESSION_SETTING.findall(options)}
    left = SESSION_SETTING.sub("", options).strip()
    given = {name: value for name, value in parameters.items() if value is not None}
    # Columns are packed as UTF-8 (store/postgres/arrays.py), whatever PGCLIENTENCODING says.
    return make_conninfo("", **{**given, "client_encoding": "UTF8", **({"options": left} if left else {})}), settings


class Connection(AsyncConnection[tuple[Any, ...]]):
    """A connection that never loses a cancellation, and has a timeout for a silent server."""

    silent_seconds: float | None = None
    """How long the server may send nothing while an answer is due; None while no statement timeout is known."""
    opened_at: float = 0.0
    """When it was opened (monotonic)."""
    server_pid: int = 0
    """The process id of its session on the server, also behind a pooler."""
    _is_abandoned: bool = False

    @classmethod
    async def connect(cls, conninfo: str = "", **named: Any) -> Self:  # noqa: ANN401  # psycopg's own parameters
        """Open a connection, and then set what the `options` of the connection string ask for."""
        startup, settings = split_session_settings(conninfo)
        connection = await super().connect(startup, **named)
        try:
            connection.silent_seconds = float(BOUNDS["connect_timeout"])
            connection.opened_at = monotonic()
            named_settings = [list(settings), list(settings.values())]
            row = await (await connection.execute(SET_SESSION, named_settings, prepare=False)).fetchone()
            connection.server_pid = 0 if row is None else row[0]
            timeout_ms = settings.get("statement_timeout", "0")
            is_bounded = timeout_ms.isdecimal() and timeout_ms != "0"
            connection.silent_seconds = int(timeout_ms) / 1_000 + SILENT_SECONDS_MORE if is_bounded else None
        except BaseException:
            await connection.close()
            raise
        return connection

    def abandon(self) -> None:
        """Fail calls that wait on this connection, within 0.1 s: the database is known to be away."""
        self._is_abandoned = True

    async def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:  # noqa: ASYNC109  # psycopg's
        """Wait for the response of the server. Raises NotAnswered when it is silent for too long."""
        with cancellable():
            try:
                return await super().wait(self._limit_silence(gen, timeout), interval, timeout)
            except NotAnswered:
                self.pgconn.finish()
                raise

    def _limit_silence(self, gen: PQGen[T], timeout: float | None) -> PQGen[T]:
        """Wrap a generator of psycopg; raise NotAnswered after so many intervals without a byte.

        Intervals are counted and not seconds: after a pause of this process the answer may be in the socket.
        """
        seconds = self.silent_seconds if timeout is None else None
        silent_intervals = 0
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                wanted = gen.send(ready)
                silent_intervals = 0 if ready else silent_intervals + 1
                if self._is_abandoned or (seconds is not None and silent_intervals * 0.1 > seconds):
                    raise NotAnswered("the server does not answer")
        except StopIteration as end:
            return cast("T", end.value)

    async def cancel_safe(self, *, timeout: float = CANCEL_SECONDS) -> None:  # noqa: ASYNC109  # psycopg's
        """Cancel the current statement; a server that does not accept that in time loses the connection."""
        try:
            await super().cancel_safe(timeout=min(timeout, CANCEL_SECONDS))
        except psycopg.Error:
            self.pgconn.finish()
            raise


async def connect(conninfo: str) -> Connection:
    """Open a connection in autocommit mode."""
    before = count_cancellations()
    connection = await Connection.connect(conninfo, autocommit=True)
    if count_cancellations() > before:
        await connection.close()
        raise asyncio.CancelledError
    return connection


@contextmanager
def translate_outages() -> Generator[None]:
    """Raise DatabaseAway for every error within the block which means that the database is away."""
    before = count_cancellations()
    try:
        yield
    except Exception as fault:
        if count_cancellations() > before:
            raise asyncio.CancelledError from fault
        if isinstance(fault, DatabaseAway) or not is_database_away(fault):
            raise
        raise DatabaseAway(describe_outage(fault)) from fault


class Backend(NamedTuple):
    """The session of a connection on the server, as the server knows it."""

    pid: int
    opened_at: float
    """When this process opened it (monotonic)."""


class OpenConnections:
    """The open connections of a process, to be dropped when the database goes away or comes back as another server."""

    def __init__(self) -> None:
        """Create it empty."""
        self._connections: WeakSet[Connection] = WeakSet()

    def add(self, connection: Connection) -> None:
        """Keep a connection until it is closed."""
        self._connections.add(connection)

    def abandon(self, opened_before: float = inf) -> list[Backend]:
        """Fail calls that wait on connections opened before a time (monotonic); return their sessions."""
        older = [each for each in self._connections if not each.closed and each.opened_at < opened_before]
        for connection in older:
            connection.abandon()
        return [Backend(connection.server_pid, connection.opened_at) for connection in older]


@asynccontextmanager
async def open_connection(conninfo: str, among: OpenConnections | None = None) -> AsyncGenerator[Connection]:
    """Open a connection in autocommit mode for the length of a block, and always close it. Raises DatabaseAway.

    It is added to `among`, if given. psycopg's own context manager first ends the transaction, and leaves the
    connection open if it is cancelled then.
    """
    with translate_outages():
        connection = await connect(conninfo)
        try:
            if among is not None:
                among.add(connection)
            yield connection
        finally:
            await connection.close()


def always_present() -> None:
    """Return at once: the database counts as present."""


class Sessions:
    """A bounded pool of connections in autocommit mode, for short statements."""

    def __init__(
        self,
        conninfo: str,
        *,
        most: int,
        most_waiting: int,
        timeout_seconds: float,
        check_readable: Callable[[], None] = always_present,
        connections: OpenConnections | None = None,
    ) -> None:
        """Create the pool: `most` connections; `most_waiting` callers may wait for one, for `timeout_seconds`.

        Its connections are added to `connections`, if given.
        `check_readable` raises Unavailable while the database is known to be away: then calls fail at once.
        """
        self._timeout_seconds = timeout_seconds
        self._check_readable = check_readable
        self._connections = connections
        self._given_back: set[asyncio.Task[None]] = set()
        self._draining: set[asyncio.Task[None]] = set()
        self._pool = AsyncConnectionPool(
            conninfo,
            connection_class=Connection,
            min_size=1,
            max_size=most,
            max_waiting=most_waiting,
            open=False,
            timeout=timeout_seconds,
            reconnect_timeout=RECONNECT_SECONDS,
            configure=self._configure,
            kwargs={"autocommit": True},
        )

    async def _configure(self, connection: Connection) -> None:
        if self._connections is not None:
            self._connections.add(connection)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Open the pool for the length of a block. Raises Unavailable when the database cannot be reached."""
        try:
            await self._open()
            yield
        finally:
            await self._pool.close()

    async def _open(self) -> None:
        try:
            await self._pool.open(wait=True, timeout=self._timeout_seconds)
        except psycopg.OperationalError as fault:
            raise DatabaseAway("the database cannot be reached") from fault

    def renew(self, _away_since: float = 0.0) -> None:
        """Replace every connection: those from before an outage may be dead, or lead to another server.

        At the beginning of an outage too, so that no dead connection is lent when the database is back.
        """
        draining = asyncio.create_task(self._pool.drain())
        self._draining.add(draining)
        draining.add_done_callback(self._draining.discard)

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[AsyncConnection[tuple[Any, ...]]]:
        """Yield a connection. Raises Unavailable, also for outages inside the block."""
        before = count_cancellations()
        self._check_readable()
        with translate_outages():
            async with self._lend() as connection:
                if count_cancellations() > before:
                    raise asyncio.CancelledError
                yield connection

    @asynccontextmanager
    async def _lend(self) -> AsyncGenerator[AsyncConnection[tuple[Any, ...]]]:
        """Yield a connection as the pool's own context manager does, and always return it to the pool.

        A connection that a cancelled caller keeps would count as in use forever.
        """
        connection = await self._pool.getconn()
        try:
            async with connection:
                yield connection
        finally:
            giving_back = asyncio.create_task(self._pool.putconn(connection))
            self._given_back.add(giving_back)
            giving_back.add_done_callback(self._given_back.discard)
            await asyncio.shield(giving_back)

    async def rows(self, query: LiteralString, parameters: Parameters) -> list[tuple[Any, ...]]:
        """Return the rows of a statement that is safe to retry. Raises Unavailable."""
        cursor = await self._execute_again(query, parameters)
        return await cursor.fetchall()

    async def one(self, query: LiteralString, parameters: Parameters) -> tuple[Any, ...] | None:
        """Return the first row of a statement that is safe to retry, or None. Raises Unavailable."""
        rows = await self.rows(query, parameters)
        return rows[0] if rows else None

    async def run(self, statement: LiteralString, parameters: Parameters) -> int:
        """Execute a statement that is safe to retry and return the number of changed rows. Raises Unavailable."""
        return (await self._execute_again(statement, parameters)).rowcount

    async def _execute_again(self, query: LiteralString, parameters: Parameters) -> AsyncCursor[tuple[Any, ...]]:
        """Execute a statement, and retry once when the connection was lost while it was idle."""
        with cancellable():
            try:
                return await self._execute(query, parameters)
            except _ConnectionDied:
                await self._pool.check()  # the other connections of the pool are probably lost too
                return await self._execute(query, parameters)

    async def _execute(self, query: LiteralString, parameters: Parameters) -> AsyncCursor[tuple[Any, ...]]:
        async with self.connection() as connection:
            try:
                cursor = connection.cursor(binary=True)
                return await cursor.execute(query, parameters)
            except NotAnswered:
                raise
            except psycopg.OperationalError as fault:
                if connection.closed:
                    raise _ConnectionDied(describe_outage(fault)) from fault
                raise


class _ConnectionDied(DatabaseAway):
    """The connection was lost; the statement may have been executed."""
