"""The contract of a bus, held by both: in the process, woken through PostgreSQL, and over NATS."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from uuid import UUID

import pytest

from bus.deltas import Delta, DeltaFollower
from bus.presence import Member, RosterFollower
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
    delta = Delta(node="a", attempt=1, offset=0, text="Once")
    with process.bus.deltas.follow(RUN, lambda: None) as follower:
        process.bus.deltas.publish(RUN, delta)

        async def has_arrived() -> bool:
            return follower.take() == (0, [delta])

        await eventually(has_arrived, what="the delta comes once")
        assert follower.take() == (0, [])


async def test_who_joins_in_another_process_gets_what_was_written_until_then(
    database: str, nats_server: NatsForTests
) -> None:
    await migrate_components(database)
    async with open_process(database, nats_server) as writer, open_process(database, nats_server) as reader:
        await wait_until_connected(writer)
        await wait_until_connected(reader)
        write = writer.bus.deltas.sender(RUN, node="a", attempt=1)
        begun = "Once upon a time " * 5_000  # more than one message of NATS
        write(begun)
        got: list[Delta] = []
        with reader.bus.deltas.follow(RUN, lambda: None) as first:
            await receive_text(first, got, len(begun))
            write("there was")
            await receive_text(first, got, len(begun) + 9)
            with reader.bus.deltas.follow(RUN, lambda: None) as second:
                late: list[Delta] = []
                await receive_text(second, late, len(begun) + 9)
        for deltas in (got, late):
            assert "".join(delta.text for delta in deltas) == begun + "there was"


async def receive_text(follower: DeltaFollower, got: list[Delta], length: int) -> None:
    """Wait until a follower has a number of characters."""

    async def is_whole() -> bool:
        got.extend(follower.take()[1])
        return sum(len(delta.text) for delta in got) >= length

    await eventually(is_whole, what=f"{length} characters arrive; there are {len(got)} pieces")


async def test_the_members_of_other_processes_are_known_and_expire_when_these_are_killed(
    database: str, nats_server: NatsForTests
) -> None:
    await migrate_components(database)
    seconds = 1.5
    async with open_process(database, nats_server, presence_seconds=seconds) as here:
        await wait_until_connected(here)
        with here.bus.presence.follow(RUN, lambda: None) as follower:
            roster: dict[str, str] = {}
            async with open_process(database, nats_server, presence_seconds=seconds) as there:
                await wait_until_connected(there)
                there.bus.presence.enter(RUN, create_member("ada"))
                there.bus.presence.enter(RUN, create_member("bob"))
                await wait_for_roster(follower, roster, {"ada", "bob"})
                there.bus.presence.leave(RUN, "bob")
                await wait_for_roster(follower, roster, {"ada"})
                with there.bus.presence.follow(RUN, lambda: None) as other:
                    here.bus.presence.enter(RUN, create_member("eve"))
                    await wait_for_roster(other, {}, {"ada", "eve"})
            await wait_for_roster(follower, roster, {"eve"})  # without a word of farewell


def create_member(name: str) -> Member:
    return Member(id=name, kind="agent", joined_at=datetime.now(UTC))


async def wait_for_roster(follower: RosterFollower, roster: dict[str, str], expected: set[str]) -> None:
    """Wait until a follower knows these members."""

    async def is_true() -> bool:
        change = follower.take()
        if change.roster is not None:
            roster.clear()
        roster.update({member.id: member.kind for member in (*(change.roster or ()), *change.joined, *change.updated)})
        for member in change.left:
            del roster[member.id]
        return set(roster) == expected

    await eventually(is_true, what=f"the roster is {expected}; it is {roster}")


async def test_a_bus_that_carries_is_not_degraded(another: Processes) -> None:
    assert (await another()).bus.list_degraded() == ()
