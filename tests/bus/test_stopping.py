"""Stopping: the NATS bus ends on cancellation, whenever that arrives."""

import asyncio
from contextlib import suppress

import psycopg

from bus.bus import Bus
from bus.feed import FeedStopped
from tests.support.bus.given import append_project, migrate_components, open_process, wait_until_connected
from tests.support.servers.nats import NatsForTests
from tests.support.waiting import eventually

MOMENTS = 300
"""Turns of the event loop after which a bus is told to stop: more than one takes to connect and to relay."""


async def wait_until_accepting(database: str) -> None:
    """Wait until PostgreSQL accepts connections: abandoned ones fill its short queue."""

    async def is_accepting() -> bool:
        try:
            async with await psycopg.AsyncConnection[tuple[()]].connect(database):
                return True
        except psycopg.OperationalError:
            return False

    await eventually(is_accepting, what="PostgreSQL takes connections")


async def wait_until_ended(running: asyncio.Task[None]) -> None:
    """Wait for a cancelled task; it may also end by FeedStopped, since the process of its feed is gone."""
    with suppress(asyncio.CancelledError):
        try:
            await running
        except* FeedStopped:
            pass


async def test_a_bus_that_is_told_to_stop_at_any_moment_stops(database: str, nats_server: NatsForTests) -> None:
    await migrate_components(database)
    async with open_process(database, nats_server, relays=True) as process:
        await wait_until_connected(process)
        await append_project(process.log, 3)
        bus: Bus = process.bus
    async with open_process(database) as process:
        for moment in range(MOMENTS):
            running = asyncio.create_task(bus.run())
            for _ in range(moment):
                await asyncio.sleep(0)
            running.cancel()
            ended, _ = await asyncio.wait([running], timeout=5)
            assert ended, f"it goes on after it was told to stop at moment {moment}"
            await wait_until_ended(running)
            await wait_until_accepting(database)
