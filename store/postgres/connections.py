"""How this project connects to PostgreSQL: bounded in every wait."""

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
"""What holds unless the connection string says otherwise; seconds, and milliseconds for the last."""

ASYNC_COMMIT: Final = "set synchronous_commit = off"
"""Commit without waiting for the disk: for what can be computed again from the log.

A crash loses the last commits, rows and their checkpoint together: the work is repeated, and nothing is skipped.
"""


def bounded(conninfo: str, *, statement_timeout_ms: int, application_name: str) -> str:
    """Add the bounds of time to a connection string: nothing holds the head row, or waits, for ever; times are in UTC.

    Options of the string are kept (a search_path, say); ours come after them, where PostgreSQL lets the last win.
    """
    given = conninfo_to_dict(conninfo)
    ours = f"-c statement_timeout={statement_timeout_ms} -c idle_in_transaction_session_timeout=60000 -c timezone=UTC"
    bounds = {name: value for name, value in BOUNDS.items() if name not in given}
    options = f"{given.get('options') or ''} {ours}".strip()
    return make_conninfo(conninfo, application_name=application_name, options=options, **bounds)


def cancels() -> int:
    """Give how often the running task has been cancelled so far."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


@contextmanager
def cancellable() -> Generator[None]:
    """Raise CancelledError when the task was cancelled within the block and the block did not say so.

    Before Python 3.12 `asyncio.wait_for`, which psycopg's pool waits with, loses a cancellation that comes with the
    result or with a failure (python/cpython#86296), and the pool takes one for the fault of a connection that it looks
    at. A task that never hears of it goes on, and whoever cancelled it waits for ever.
    """
    before = cancels()
    try:
        yield
    except Exception as fault:
        if cancels() > before:
            raise asyncio.CancelledError from fault
        raise
    if cancels() > before:
        raise asyncio.CancelledError


class Connection(AsyncConnection[tuple[Any, ...]]):
    """A connection on which no cancellation is lost."""

    async def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:  # noqa: ASYNC109  # psycopg's
        """Wait for what the server answers."""
        with cancellable():
            return await super().wait(gen, interval, timeout)


async def connect(conninfo: str) -> AsyncConnection[tuple[Any, ...]]:
    """Open one connection that commits every statement by itself."""
    before = cancels()
    connection = await Connection.connect(conninfo, autocommit=True)
    if cancels() > before:
        await connection.close()
        raise asyncio.CancelledError
    return connection


@asynccontextmanager
async def connected(conninfo: str) -> AsyncGenerator[AsyncConnection[tuple[Any, ...]]]:
    """Hold one connection like that open for the length of a block, and close it whatever ends the block.

    psycopg's own block first ends the transaction, and leaves the connection open when it is cancelled while it does.
    """
    connection = await connect(conninfo)
    try:
        yield connection
    finally:
        await connection.close()


class Sessions:
    """A bounded pool of connections for short statements, each of which commits by itself."""

    def __init__(self, conninfo: str, *, most: int, most_waiting: int, timeout_seconds: float) -> None:
        """Make the pool: `most` connections; `most_waiting` callers may wait for one, for `timeout_seconds`."""
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
    async def opened(self) -> AsyncGenerator[None]:
        """Hold the pool open for the length of a block. Raises Unavailable when the database is not reached."""
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
        """Lend a connection. Raises Unavailable, also for what goes wrong with the connection inside the block."""
        before = cancels()
        try:
            async with self._lent() as connection:
                if cancels() > before:
                    raise asyncio.CancelledError
                yield connection
        except (psycopg.OperationalError, psycopg.InterfaceError) as fault:
            if cancels() > before:
                raise asyncio.CancelledError from fault
            raise Unavailable("the database cannot be asked now") from fault

    @asynccontextmanager
    async def _lent(self) -> AsyncGenerator[AsyncConnection[tuple[Any, ...]]]:
        """Lend a connection as the pool's own block does, and give it back whatever happens.

        A caller who is cancelled meanwhile must not take it along: the pool would count it as lent for ever.
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
        """Give the rows of a statement that may be repeated. Raises Unavailable."""
        cursor = await self._executed(query, parameters)
        return await cursor.fetchall()

    async def one(self, query: LiteralString, parameters: Parameters) -> tuple[Any, ...] | None:
        """Give the first row of a statement that may be repeated, None when there is none. Raises Unavailable."""
        rows = await self.rows(query, parameters)
        return rows[0] if rows else None

    async def run(self, statement: LiteralString, parameters: Parameters) -> int:
        """Run a statement that may be repeated and give the number of rows that it changed. Raises Unavailable."""
        return (await self._executed(statement, parameters)).rowcount

    async def _executed(self, query: LiteralString, parameters: Parameters) -> AsyncCursor[tuple[Any, ...]]:
        """Execute a statement, and once more when the connection turns out to have died while it was idle."""
        with cancellable():
            try:
                return await self._execute(query, parameters)
            except _ConnectionDied:
                await self._pool.check()  # the others of the pool will have died with it
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
    """The connection was lost; the statement may have been carried out."""
