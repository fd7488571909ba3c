"""One prepared statement on a connection of its own, executed with as little work as possible.

psycopg's cursors watch the socket anew for every wait; that took 120 µs of processor and 210 µs of time a statement,
where this takes 26 and 55 (measured with a statement that does nothing). Only the appender is worth it: each of the
commits that a run waits for goes through here. Built on psycopg's documented libpq layer (`psycopg.pq`).
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGresult

from store.postgres.arrays import ARRAY_OIDS, Column

BOOL_OID: Final = 16
NAME: Final = b"append"

LOOK_SECONDS: Final = 0.1
"""Poll interval of the socket, in case its event is lost.

When many connections are lost and made anew at once, so that sockets get each other's numbers, uvloop can lose sight of
one (it was no longer in the epoll set while the loop said that it is read): whoever waits for that one waits for ever.
psycopg itself begins to watch anew as often as this.
"""

Parameter = Column | bool


class PreparedStatement:
    """A statement that returns one row. Between `open` and `close` the connection is used for nothing else."""

    def __init__(self, connection: AsyncConnection[Any], sql: str) -> None:
        """Create it over a connection; nothing is sent yet."""
        self._connection = connection
        self._pgconn = connection.pgconn
        self._sql = sql.encode()
        self._loop = asyncio.get_running_loop()
        self._descriptor = connection.fileno()
        self._heard = asyncio.Event()
        self._listening = False
        self._on_lost: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._transformer = Transformer(connection)  # one for all responses: it caches how their columns are read

    async def open(self, oids: Sequence[int]) -> None:
        """Prepare the statement for parameters of these types, and start to read from the server."""
        self._loop.add_reader(self._descriptor, self._hear)
        self._listening = True
        self._timer = self._loop.call_later(LOOK_SECONDS, self._look)
        self._pgconn.send_prepare(NAME, self._sql, oids)
        self._check(await self._result(), ExecStatus.COMMAND_OK)

    def on_lost(self, told: Callable[[], None]) -> None:
        """Register a callback for a connection lost while idle."""
        self._on_lost = told

    def close(self) -> None:
        """Stop listening; the connection may be closed then."""
        if self._listening:
            self._listening = False
            self._loop.remove_reader(self._descriptor)
            self._loop.remove_writer(self._descriptor)
            if self._timer is not None:
                self._timer.cancel()

    def abandon(self) -> None:
        """Fail a pending call, and close the connection: the server is known to be away."""
        self.close()
        self._pgconn.finish()
        self._heard.set()
        if self._on_lost is not None:
            self._on_lost()

    def _close_if_gone(self) -> None:
        """Stop listening the moment libpq has closed the socket: the next connection gets its number."""
        if self._connection.closed:
            self.close()

    def send(self, parameters: Sequence[Parameter]) -> None:
        """Send the statement, as far as the socket accepts it. Raises psycopg.Error if the server is gone."""
        values = [_pack_parameter(parameter) for parameter in parameters]
        try:
            self._pgconn.send_query_prepared(NAME, values, [Format.BINARY] * len(values), Format.BINARY)
            self._pgconn.flush()
        finally:
            self._close_if_gone()

    async def answer(self) -> tuple[Any, ...]:
        """Return the row that the server responds with. Raises psycopg.Error if it refuses or is gone."""
        result = await self._result()
        self._check(result, ExecStatus.TUPLES_OK)
        self._transformer.set_pgresult(result)
        return self._transformer.load_row(0, tuple)

    async def _result(self) -> PGresult:
        """Flush the output, and return the last result before the server is ready again."""
        last: PGresult | None = None
        while True:
            try:
                unsent = self._pgconn.flush()
                busy = not unsent and self._pgconn.is_busy()
                result = None if unsent or busy else self._pgconn.get_result()
            finally:
                self._close_if_gone()
            if unsent:
                await self._writable()
            elif busy:
                self._heard.clear()
                await self._heard.wait()
            elif result is None:
                break
            else:
                last = result
        if last is None:
            raise psycopg.OperationalError("the server sent no result")
        return last

    async def _writable(self) -> None:
        """Wait until the socket is writable, or the server has sent something."""
        self._heard.clear()
        self._loop.add_writer(self._descriptor, self._heard.set)
        try:
            await self._heard.wait()
        finally:
            if self._listening:
                self._loop.remove_writer(self._descriptor)

    def _hear(self) -> None:
        """Read what the server sent, also without a request, so that a lost connection is noticed at once."""
        with suppress(psycopg.OperationalError):
            self._pgconn.consume_input()
        if self._connection.closed:
            self.close()
            if self._on_lost is not None:
                self._on_lost()
        self._heard.set()

    def _look(self) -> None:
        self._timer = self._loop.call_later(LOOK_SECONDS, self._look)
        self._hear()

    def _check(self, result: PGresult, expected: ExecStatus) -> None:
        if result.status != expected:
            raise error_from_result(result)


def _pack_parameter(parameter: Parameter) -> bytes:
    return parameter.packed if isinstance(parameter, Column) else bytes([parameter])


def list_oids(parameters: Sequence[Parameter]) -> list[int]:
    """Return the type OIDs of parameters."""
    return [
        ARRAY_OIDS[parameter.element_oid] if isinstance(parameter, Column) else BOOL_OID for parameter in parameters
    ]
