"""The contract of a bus, held by both: in the process, woken through PostgreSQL, and over NATS."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from uuid import UUID

import pytest

from bus.deltas import Delta
from tests.support.bus.given import (
    Process,
    append_project,
    assert_received_log,
    migrate_components,
    open_process,
    wait_until_acquainted,
    wait_until_connected,
)
from tests.support.servers.nats import NatsForTests
from tests.support.waiting import eventually

RUN = UUID("0192f000-0000-7000-8000-0000000000ff")
Processes = Callable[[], Awaitable[Process]]


@pytest.fixture(params=["in_process", "nats"])
async def another(request: pytest.FixtureRequest, database: str) -> AsyncGenerator[Processes]:
    """Factory of further processes on the same log; the first may relay."""
    await migrate_components(database)
    over_nats = request.param == "nats"
    server: NatsForTests | None = request.getfixturevalue("nats_server") if over_nats else None
    async with AsyncExitStack() as stack:
        made: list[Process] = []

        async def make() -> Process:
            process = await stack.enter_async_context(open_process(database, server, relays=over_nats and not made))
            made.append(process)
            if over_nats:
                await wait_until_connected(process)
            await wait_until_acquainted(made)
            return process

        yield make


async def test_what_a_process_commits_comes_to_itself_and_to_others_long_before_the_poll(another: Processes) -> None:
    first, second, third = await another(), await another(), await another()
    for process in (second, first, third):
        last = await append_project(process.log, 20)
        for every in (first, second, third):
            await every.wait_for(last)
    for every in (first, second, third):
        await assert_received_log(every)


async def test_what_came_before_a_process_began_is_left_to_the_log(another: Processes) -> None:
    first = await another()
    before = await append_project(first.log, 5)
    late = await another()
    last = await append_project(first.log)
    await late.wait_for(last)
    assert late.received[0].position == before + 1


async def test_many_commits_at_once_come_in_order_and_whole(another: Processes) -> None:
    first, second = await another(), await another()
    lasts = await asyncio.gather(*(append_project(process.log, 30) for process in (first, second) for _ in range(5)))
    for every in (first, second):
        await every.wait_for(max(lasts))
        await assert_received_log(every)


async def test_a_delta_comes_to_the_followers_in_its_process(another: Processes) -> None:
    process = await another()
    delta = Delta(node="a", attempt=1, text="Once")
    with process.bus.deltas.follow(RUN, lambda: None) as follower:
        process.bus.deltas.publish(RUN, delta)

        async def has_arrived() -> bool:
            return follower.take() == (0, [delta])

        await eventually(has_arrived, what="the delta comes once")
        assert follower.take() == (0, [])


async def test_a_bus_that_carries_is_not_degraded(another: Processes) -> None:
    assert (await another()).bus.list_degraded() == ()
