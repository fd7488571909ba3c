"""Connections to PostgreSQL, with a timeout on every wait."""

import asyncio
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, LiteralString, TypeVar

import psycopg
from psycopg import AsyncConnection, AsyncCursor
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool

from store.errors import Unavailable

T = TypeVar("T")
Parameters = Sequence[Any] | Mapping[str, Any] | None

BOUNDS: Final = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""Defaults for what the connection string leaves out: seconds, and milliseconds for tcp_user_timeout."""

ASYNC_COMMIT: Final = "set synchronous_commit = off"
"""Commit without waiting for the disk: for what can be computed again from the log.

A crash loses the last commits, rows and their checkpoint together: the work is repeated, and nothing is skipped.
"""


def add_bounds(conninfo: str, *, statement_timeout_ms: int, application_name: str) -> str:
    """Return a connection string with timeouts, so that no session holds the head row or waits for ever, and in UTC.

    Options of the string (such as search_path) are kept; ours follow them, and the last one wins in PostgreSQL.
    """
    given = conninfo_to_dict(conninfo)
    ours = f"-c statement_timeout={statement_timeout_ms} -c idle_in_transaction_session_timeout=60000 -c timezone=UTC"
    bounds = {name: value for name, value in BOUNDS.items() if name not in given}
    options = f"{given.get('options') or ''} {ours}".strip()
    return make_conninfo(conninfo, application_name=application_name, options=options, **bounds)


def count_cancellations() -> int:
    """Return how often the running task has been cancelled so far."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


@contextmanager
def cancellable() -> Generator[None]:
    """Raise CancelledError when the task was cancelled within the block and the block did not raise it.

    Before Python 3.12 `asyncio.wait_for`, which psycopg's pool waits with, loses a cancellation that comes with the
    result or with a failure (python/cpython#86296), and the pool takes one for a fault of a connection that it checks.
    A task that misses its cancellation goes on, and the task that cancelled it waits for ever.
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


class Connection(AsyncConnection[tuple[Any, ...]]):
    """A connection that never loses a cancellation."""

    async def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:  # noqa: ASYNC109  # psycopg's
        """Wait for the response of the server."""
        with cancellable():
            return await super().wait(gen, interval, timeout)


async def connect(conninfo: str) -> AsyncConnection[tuple[Any, ...]]:
    """Open a connection in autocommit mode."""
    before = count_cancellations()
    connection = await Connection.connect(conninfo, autocommit=True)
    if count_cancellations() > before:
        await connection.close()
        raise asyncio.CancelledError
    return connection


@asynccontextmanager
async def open_connection(conninfo: str) -> AsyncGenerator[AsyncConnection[tuple[Any, ...]]]:
    """Open a connection in autocommit mode for the length of a block, and always close it.

    psycopg's own context manager first ends the transaction, and leaves the connection open if it is cancelled then.
    """
    connection = await connect(conninfo)
    try:
        yield connection
    finally:
        await connection.close()


class Sessions:
    """A bounded pool of connections in autocommit mode, for short statements."""

    def __init__(self, conninfo: str, *, most: int, most_waiting: int, timeout_seconds: float) -> None:
        """Create the pool: `most` connections; `most_waiting` callers may wait for one, for `timeout_seconds`."""
        self._timeout_seconds = timeout_seconds
        self._given_back: set[asyncio.Task[None]] = set()
        self._pool = AsyncConnectionPool(
            conninfo,
            connection_class=Connection,
            min_size=1,
            max_size=most,
            max_waiting=most_waiting,
            open=False,
            timeout=timeout_seconds,
            kwargs={"autocommit": True},
        )

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
            raise Unavailable("the database is not reached") from fault

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[AsyncConnection[tuple[Any, ...]]]:
        """Yield a connection. Raises Unavailable, also for connection errors inside the block."""
        before = count_cancellations()
        try:
            async with self._lend() as connection:
                if count_cancellations() > before:
                    raise asyncio.CancelledError
                yield connection
        except (psycopg.OperationalError, psycopg.InterfaceError) as fault:
            if count_cancellations() > before:
                raise asyncio.CancelledError from fault
            raise Unavailable("the database cannot be asked now") from fault

    @asynccontextmanager
    async def _lend(self) -> AsyncGenerator[AsyncConnection[tuple[Any, ...]]]:
        """Yield a connection as the pool's own context manager does, and always return it to the pool.

        A connection that a cancelled caller keeps would count as in use for ever.
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
            except psycopg.OperationalError as fault:
                if connection.closed:
                    raise _ConnectionDied("the connection to the database was lost") from fault
                raise


class _ConnectionDied(Unavailable):
    """The connection was lost; the statement may have been executed."""
