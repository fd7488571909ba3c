"""The loop of the timers on a real table: what it wakes, and what it asks of PostgreSQL while nothing is due."""

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import LiteralString
from uuid import UUID

from domain.runs.facts import StepWaiting, WaitFor
from engine.cluster.owner import Owner
from engine.driving.timers import Timers
from engine.settings import EngineSettings
from projections.read_models.timers_view import TimersView
from projections.runtime.read_pool import Parameters, ReadModels, Row
from projections.settings import ProjectionSettings
from store.log.records import Recorded
from store.postgres.migrations import migrate
from tests.support.commands.processes import new_id, now
from tests.support.engine.harness import open_harness
from tests.support.projections.given import number_facts, run_in_background
from tests.support.store.given import WORKSPACE
from tests.support.waiting import eventually

MANY = 100_000
INSERT = """
insert into timers (run_id, node, workspace_id, due_at)
select gen_random_uuid(), 'w', gen_random_uuid(), now() + %(after)s * interval '1 s' from generate_series(1, %(many)s)
"""


class CountedModels(ReadModels):
    """Read models that count the statements they are asked, and the rows these give."""

    statements = 0
    read = 0

    async def first(self, query: LiteralString, parameters: Parameters) -> Row | None:
        row = await super().first(query, parameters)
        self.statements += 1
        self.read += row is not None
        return row

    async def rows(self, query: LiteralString, parameters: Parameters) -> list[Row]:
        rows = await super().rows(query, parameters)
        self.statements += 1
        self.read += len(rows)
        return rows


class Woken:
    """Notes which runs were woken, how often, and when first."""

    def __init__(self) -> None:
        """Note nothing yet."""
        self.times: Counter[UUID] = Counter()
        self.first: dict[UUID, datetime] = {}
        self.full: set[UUID] = set()
        self.refused: Counter[UUID] = Counter()

    def wake_due(self, run_id: UUID, workspace_id: UUID) -> bool:
        if workspace_id in self.full:
            self.refused[run_id] += 1
            return False
        self.times[run_id] += 1
        self.first.setdefault(run_id, now())
        return True


@asynccontextmanager
async def open_models(database: str, *, timers: int, after_seconds: float) -> AsyncGenerator[CountedModels]:
    """Yield read models with a number of timers that are due after some seconds."""
    await migrate(database, ["store", "projections"])
    # 60 s: on a busy machine the insert of all timers takes longer than a statement may in production.
    models = CountedModels(database, ProjectionSettings(readers=1), statement_timeout_ms=60_000)
    async with models.open():
        async with models.connection() as connection:
            await connection.execute(INSERT, {"many": timers, "after": after_seconds})
            await connection.execute("analyze timers")
        yield models


def waits_until(until: datetime) -> Recorded:
    fact = StepWaiting(node="w", attempt=1, waiting_for=WaitFor.TIMER, until=until, waiting_since=now())
    return number_facts([(new_id(), fact)])[0]


async def test_many_pending_timers_cost_two_statements_and_one_row_a_poll(database: str) -> None:
    settings = EngineSettings(timer_poll_seconds=0.2)
    async with open_models(database, timers=MANY, after_seconds=3_600) as models:
        woken = Woken()
        began_at = now()
        async with run_in_background(Timers(TimersView(models), woken, now, settings).run()):

            async def has_polled() -> bool:
                return models.statements >= 10

            await eventually(has_polled, what="the table was polled five times", seconds=60)
            polls = 1 + (now() - began_at) / timedelta(seconds=settings.timer_poll_seconds)
            statements, read = models.statements, models.read
    assert statements <= 2 * polls
    assert read <= polls
    assert not woken.times


async def test_every_due_timer_is_taken_from_the_table_page_by_page(database: str) -> None:
    async with open_models(database, timers=25, after_seconds=-1) as models:
        woken = Woken()
        settings = EngineSettings(timer_poll_seconds=3_600, timer_page=10)
        async with run_in_background(Timers(TimersView(models), woken, now, settings).run()):

            async def all_woken() -> bool:
                return len(woken.times) >= 25 and models.statements >= 5

            await eventually(all_woken, what="all are woken", seconds=30)
    assert set(woken.times.values()) == {1}


async def test_a_workspace_without_room_keeps_nobody_from_being_woken_and_is_looked_at_again_soon(
    database: str,
) -> None:
    async with open_models(database, timers=25, after_seconds=-1) as models:
        async with models.connection() as connection:
            await connection.execute(
                "update timers set workspace_id = %s where run_id in (select run_id from timers limit 20)", [WORKSPACE]
            )
        woken = Woken()
        woken.full.add(WORKSPACE)
        settings = EngineSettings(timer_poll_seconds=3_600, timer_page=10)
        timers = Timers(TimersView(models), woken, now, settings)
        async with run_in_background(timers.run()):

            async def others_woken() -> bool:
                return len(woken.times) == 5

            await eventually(others_woken, what="those of the others are woken", seconds=30)
            assert 0 < len(woken.refused) <= 20
            heard = waits_until(now())
            timers.observe(heard)

            async def heard_was_refused() -> bool:
                return heard.stream_id in woken.refused

            await eventually(heard_was_refused, what="what was heard found no room either", seconds=30)
            woken.full.clear()

            async def all_woken() -> bool:
                return len(woken.times) == 25

            await eventually(all_woken, what="all are woken", seconds=30)


async def test_a_nearer_time_that_is_heard_of_ends_the_sleep(database: str) -> None:
    async with open_models(database, timers=1, after_seconds=3_600) as models:
        woken = Woken()
        timers = Timers(TimersView(models), woken, now, EngineSettings(timer_poll_seconds=3_600))
        async with run_in_background(timers.run()):

            async def read() -> bool:
                return models.statements == 2

            await eventually(read, what="the table was read", seconds=30)
            heard = [waits_until(now() + timedelta(seconds=seconds)) for seconds in (0.3, 0.1, 7_300)]
            for request in heard:
                timers.observe(request)

            async def two_woken() -> bool:
                return len(woken.times) == 2

            await eventually(two_woken, what="both are woken", seconds=30)
        for request in heard[:2]:
            fact = request.fact
            assert isinstance(fact, StepWaiting)
            assert fact.until is not None
            assert woken.first[request.stream_id] >= fact.until
    assert models.statements == 2


async def test_a_timer_that_comes_into_the_table_late_is_found_at_the_next_poll(database: str) -> None:
    async with open_models(database, timers=0, after_seconds=0) as models:
        woken = Woken()
        async with run_in_background(
            Timers(TimersView(models), woken, now, EngineSettings(timer_poll_seconds=0.05)).run()
        ):

            async def has_polled() -> bool:
                return models.statements >= 4

            await eventually(has_polled, what="the empty table was polled", seconds=30)
            async with models.connection() as connection:
                await connection.execute(INSERT, {"many": 1, "after": -60})

            async def one_woken() -> bool:
                return len(woken.times) == 1

            await eventually(one_woken, what="it is woken", seconds=30)


async def test_a_back_off_that_is_held_ends_by_the_clock_though_that_runs_slower_than_the_loop(database: str) -> None:
    began_at = now()

    def slow_clock() -> datetime:
        return began_at + (now() - began_at) / 2

    async with open_harness(database) as harness:
        context = replace(harness.context(Owner("first", 1)), clock=slow_clock)
        due_at = slow_clock() + timedelta(seconds=0.1)
        await context.sleep_until(due_at)
        assert slow_clock() >= due_at
