"""The appender's statement on a socket that the event loop has lost sight of."""

import asyncio

import pytest

from store.log.prepared_statement import PreparedStatement
from store.postgres.connections import open_connection

PATIENCE_SECONDS = 10
SLOW = "select 7 from pg_sleep(0.3)"


async def test_an_answer_is_heard_though_the_loop_no_longer_watches_the_socket(database: str) -> None:
    async with open_connection(database) as connection, asyncio.timeout(PATIENCE_SECONDS):
        statement = PreparedStatement(connection, SLOW)
        await statement.open([])
        statement.send([])
        asyncio.get_running_loop().remove_reader(connection.fileno())
        assert await statement.answer() == (7,)
        statement.close()


@pytest.mark.parametrize("busy", [False, True])
async def test_a_lost_connection_is_noticed_though_the_loop_no_longer_watches_the_socket(
    database: str, *, busy: bool
) -> None:
    async with (
        open_connection(database) as connection,
        open_connection(database) as other,
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        statement = PreparedStatement(connection, "select 7 from pg_sleep(60)")
        await statement.open([])
        lost = asyncio.Event()
        statement.on_lost(lost.set)
        if busy:
            statement.send([])
        asyncio.get_running_loop().remove_reader(connection.fileno())
        await other.execute("select pg_terminate_backend(%s)", [connection.info.backend_pid])
        await lost.wait()
        assert connection.closed
