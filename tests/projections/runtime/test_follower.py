"""Following the log: exactly once through kills, restarts, doubles and rivals; poison stops one projection, visibly."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
from anyio import to_thread
from msgspec.structs import replace

from domain.project import ProjectCreated
from projections.runtime.follower import Following
from projections.runtime.worker import Worker
from store.errors import Unavailable
from store.log.raw_reads import Connection
from store.log.records import Page
from tests.support.projections.given import (
    PROMPT_BOUNDS,
    WAIT_SECONDS,
    Harness,
    Picky,
    Tally,
    new_id,
    open_harness,
    read_tally,
    run_in_background,
    terminate_backend,
)
from tests.support.servers.postgres import EVERY_POSTGRES, PostgresForTests
from tests.support.waiting import eventually


class StutteringFeed:
    """Delivers everything again with each page."""

    def __init__(self, harness: Harness) -> None:
        """Wrap the feed of a harness."""
        self._feed = harness.feed

    @property
    def through(self) -> int:
        return self._feed.through

    async def read(self, after: int, limit: int) -> Page:
        page = await self._feed.read(after, limit)
        before = await self._feed.read(0, limit)
        return Page(
            events=(*(event for event in before.events if event.position <= after), *page.events), through=page.through
        )

    async def check_connection(self, connection: Connection) -> None:
        await self._feed.check_connection(connection)


@EVERY_POSTGRES
async def test_every_fact_is_folded_once(database: str) -> None:
    async with open_harness(database) as harness:
        checkpoints = harness.create_checkpoints()
        async with run_in_background(harness.create_worker(checkpoints, Tally()).run()):
            last = await harness.append_renames(20)
            await checkpoints.wait_for("tally", last, WAIT_SECONDS)
            assert await read_tally(harness) == 21
            assert await harness.read_checkpoint("tally") == last


async def test_a_kill_between_rows_and_checkpoint_loses_and_doubles_nothing(database: str) -> None:
    kills = 0

    def kill(backend: int) -> None:
        nonlocal kills
        if kills < 5:
            kills += 1
            terminate_backend(database, backend)

    async with open_harness(database) as harness:
        checkpoints = harness.create_checkpoints()
        async with run_in_background(harness.create_worker(checkpoints, Tally(after_writing=kill)).run()):
            last = await harness.append_renames(30)
            await checkpoints.wait_for("tally", last, WAIT_SECONDS)
        assert kills == 5
        assert await read_tally(harness) == 31
        assert await harness.read_checkpoint("tally") == last


async def test_facts_that_are_delivered_twice_are_folded_once(database: str) -> None:
    async with open_harness(database) as harness:
        checkpoints = harness.create_checkpoints()
        worker = Worker(database, StutteringFeed(harness), [Tally()], checkpoints, PROMPT_BOUNDS)
        async with run_in_background(worker.run()):
            last = await harness.append_renames(20)
            await checkpoints.wait_for("tally", last, WAIT_SECONDS)
        assert await read_tally(harness) == 21


async def test_a_restarted_worker_goes_on_where_the_last_one_was(database: str) -> None:
    async with open_harness(database) as harness:
        for _ in range(3):
            checkpoints = harness.create_checkpoints()
            async with run_in_background(harness.create_worker(checkpoints, Tally()).run()):
                last = await harness.append_renames(4)
                await checkpoints.wait_for("tally", last, WAIT_SECONDS)
            await harness.append_renames(4)
        checkpoints = harness.create_checkpoints()
        async with run_in_background(harness.create_worker(checkpoints, Tally()).run()):
            await checkpoints.wait_for("tally", (await harness.log.head())[0], WAIT_SECONDS)
        assert await read_tally(harness) == 6 * 5


async def test_of_two_workers_one_works_and_the_other_takes_over(database: str) -> None:
    async with open_harness(database) as harness:
        ours, theirs = Tally(), Tally()
        our_checkpoints, their_checkpoints = harness.create_checkpoints(), harness.create_checkpoints()
        first, second = harness.create_worker(our_checkpoints, ours), harness.create_worker(their_checkpoints, theirs)
        async with run_in_background(first.run()) as working:
            await eventually(is_doing_everywhere(first, Following.FOLLOWING), what="the first works")
            async with run_in_background(second.run()):
                await eventually(is_doing_everywhere(second, Following.STANDING_BY), what="the second stands by")
                await their_checkpoints.wait_for("tally", await harness.append_renames(5), WAIT_SECONDS)
                assert (ours.batches > 0, theirs.batches) == (True, 0)
                working.cancel()
                last = await harness.append_renames(5)
                await their_checkpoints.wait_for("tally", last, WAIT_SECONDS)
                assert theirs.batches > 0
        assert await read_tally(harness) == 12


async def test_a_checkpoint_that_somebody_else_moved_is_not_moved_back(database: str) -> None:
    async with open_harness(database) as harness:
        checkpoints = harness.create_checkpoints()
        async with run_in_background(harness.create_worker(checkpoints, Tally()).run()):
            first = await harness.append_renames(1)
            await checkpoints.wait_for("tally", first, WAIT_SECONDS)
            async with harness.models.connection() as connection:
                await connection.execute("update checkpoints set position = position + 1 where projection = 'tally'")
            last = await harness.append_renames(1)
            await checkpoints.wait_for("tally", last, WAIT_SECONDS)
        assert await read_tally(harness) == 3  # one of four was taken by whoever moved the checkpoint
        assert await harness.read_checkpoint("tally") == last


async def test_facts_that_a_projection_does_not_want_move_its_checkpoint_too(database: str) -> None:
    async with open_harness(database) as harness:
        checkpoints = harness.create_checkpoints()
        async with run_in_background(harness.create_worker(checkpoints, Picky("nothing")).run()):
            (created,) = await harness.append_facts(new_id(), ProjectCreated(name="Launch", owner="ada"))
            await checkpoints.wait_for("picky", created.position, WAIT_SECONDS)

            async def row_follows() -> bool:
                return await harness.read_checkpoint("picky") == created.position

            await eventually(row_follows, what="other processes see it in the table")


async def test_crashes_of_the_database_lose_and_double_nothing(own_postgres: PostgresForTests) -> None:
    async with open_harness(own_postgres.lend_database(migrated=False)) as harness:
        checkpoints = harness.create_checkpoints()
        async with run_in_background(harness.create_worker(checkpoints, Tally()).run()):
            for _ in range(3):
                await harness.append_renames(10)
                own_postgres.crash()
                await to_thread.run_sync(own_postgres.start)
                await eventually(partial(can_append, harness), what="the log is back", seconds=WAIT_SECONDS)
            last = await harness.append_renames(10)
            await checkpoints.wait_for("tally", last, WAIT_SECONDS)
        assert await read_tally(harness) == (await harness.log.head())[0]


async def test_an_unexpected_exception_ends_the_worker(database: str) -> None:
    def fail(_point: str) -> None:
        raise ZeroDivisionError

    async with open_harness(database) as harness:
        worker = Worker(database, harness.feed, [Tally()], harness.create_checkpoints(), PROMPT_BOUNDS, fail)
        await harness.append_renames(1)
        with pytest.raises(ExceptionGroup) as raised:
            await asyncio.wait_for(worker.run(), WAIT_SECONDS)
        assert raised.group_contains(ZeroDivisionError)


async def can_append(harness: Harness) -> bool:
    """Return whether the log accepts an append and can be read; the append counts in the tally."""
    try:
        await harness.append_renames(0)
        await harness.log.head()
    except Unavailable:
        return False
    return True


def is_doing_everywhere(worker: Worker, what: Following) -> Callable[[], Awaitable[bool]]:
    async def is_doing() -> bool:
        return all(projection.doing is what for projection in worker.health())

    return is_doing


async def test_a_projection_that_cannot_move_is_said_to_stall_and_does_not_hang(database: str) -> None:
    bounds = replace(PROMPT_BOUNDS, commit_seconds=0.2, stalled_seconds=0.3)
    async with open_harness(database) as harness:
        checkpoints = harness.create_checkpoints()
        worker = Worker(database, harness.feed, [Tally()], checkpoints, bounds)
        async with run_in_background(worker.run()):
            await checkpoints.wait_for("tally", await harness.append_renames(1), WAIT_SECONDS)
            async with harness.models.connection() as connection, connection.transaction():
                await connection.execute("select from checkpoints where projection = 'tally' for update")
                last = await harness.append_renames(1)
                await eventually(has_stalled(worker), what="the worker says that it stalls")
                await eventually(has_given_up(worker), what="the batch is given up, and tried again")
            await checkpoints.wait_for("tally", last, WAIT_SECONDS)
            await eventually(has_stalled(worker, stalled=False), what="it goes on")
        assert await read_tally(harness) == 4


async def test_a_worker_that_stands_by_notices_that_the_other_one_hangs(database: str) -> None:
    bounds = replace(PROMPT_BOUNDS, stalled_seconds=0.3)
    async with open_harness(database) as harness:
        ours, theirs = (
            Worker(database, harness.feed, [Tally()], harness.create_checkpoints(), bounds) for _ in range(2)
        )
        async with run_in_background(ours.run()):
            await eventually(is_doing_everywhere(ours, Following.FOLLOWING), what="the first works")
            async with run_in_background(theirs.run()):
                await eventually(is_doing_everywhere(theirs, Following.STANDING_BY), what="the second stands by")
                async with harness.models.connection() as connection, connection.transaction():
                    await connection.execute("select from checkpoints where projection = 'tally' for update")
                    await harness.append_renames(1)
                    await eventually(has_stalled(theirs), what="the one that stands by says so")
                await eventually(has_stalled(theirs, stalled=False), what="the first goes on")


def has_stalled(worker: Worker, *, stalled: bool = True) -> Callable[[], Awaitable[bool]]:
    async def is_so() -> bool:
        return all(projection.stalled is stalled for projection in worker.health())

    return is_so


def has_given_up(worker: Worker) -> Callable[[], Awaitable[bool]]:
    async def is_so() -> bool:
        return all(projection.doing is not Following.FOLLOWING for projection in worker.health())

    return is_so
