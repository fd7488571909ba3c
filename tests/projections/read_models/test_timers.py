"""Timers: a row while a step is due by the clock, none once it has moved on, one row read however many there are."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from domain.fact import Fact
from domain.graphs.graph import ErrorClass
from domain.payload import NOTHING
from domain.runs.facts import (
    RunCancelled,
    RunFailed,
    RunRetried,
    StepCompleted,
    StepDecided,
    StepError,
    StepFailed,
    StepStarted,
    StepWaiting,
    WaitFor,
)
from projections.read_models.timers import TimersProjection
from projections.read_models.timers_view import NEXT, Timer, TimersView
from projections.runtime.read_pool import ReadModels
from projections.settings import ProjectionSettings
from tests.support.projections.given import NOW, apply_facts, new_id, number_facts, open_read_models
from tests.support.store.given import WORKSPACE

SOON = NOW + timedelta(seconds=5)
LATER = NOW + timedelta(days=5)
ERROR = StepError(error_class=ErrorClass.OVERLOADED, message="busy")
RUN = UUID("01890a5d-ac96-774b-bcce-b302099a8057")


def start_step(attempt: int = 1, node: str = "a") -> StepStarted:
    return StepStarted(node=node, attempt=attempt, executor="first", epoch=1, started_at=NOW)


def wait_step(until: datetime | None = SOON, node: str = "a", what: WaitFor = WaitFor.TIMER) -> StepWaiting:
    return StepWaiting(node=node, attempt=1, waiting_for=what, until=until, waiting_since=NOW)


def fail_step(retry_at: datetime | None) -> StepFailed:
    return StepFailed(node="a", attempt=1, error=ERROR, retry_at=retry_at, failed_at=NOW)


DECIDED = StepDecided(node="a", outcome="approve", data=NOTHING, decided_by="rita", shown_hash=None, decided_at=NOW)
COMPLETED = StepCompleted(node="a", attempt=1, output=NOTHING, completed_at=NOW)
RUN_FAILED = RunFailed(node="b", error=ERROR, failed_at=NOW)
RETRIED = RunRetried(run_attempt=2, workflow_version=1, kept={}, retried_by="ana", retried_at=NOW)


def timer(due_at: datetime, node: str = "a") -> Timer:
    return Timer(RUN, node, due_at, WORKSPACE)


HISTORIES: list[tuple[str, list[Fact], list[Timer]]] = [
    ("a delay", [start_step(), wait_step()], [timer(SOON)]),
    ("a deadline", [start_step(), wait_step(what=WaitFor.HUMAN)], [timer(SOON)]),
    ("no deadline", [start_step(), wait_step(None, what=WaitFor.HUMAN)], []),
    ("a back-off", [start_step(), fail_step(LATER)], [timer(LATER)]),
    ("an attempt lost with its owner", [start_step(), fail_step(NOW), start_step(2)], []),
    ("a failure for good", [start_step(), fail_step(LATER), start_step(2), fail_step(None)], []),
    ("the attempt after a back-off", [start_step(), fail_step(LATER), start_step(2)], []),
    ("a delay that is over", [start_step(), wait_step(), COMPLETED], []),
    ("a decision", [start_step(), wait_step(what=WaitFor.HUMAN), DECIDED], []),
    (
        "asked again later",
        [start_step(), wait_step(), fail_step(SOON), start_step(2), wait_step(LATER)],
        [timer(LATER)],
    ),
    ("a run that failed elsewhere", [start_step(), wait_step(), RUN_FAILED], []),
    ("a cancelled run", [start_step(), wait_step(), RunCancelled(cancelled_at=NOW)], []),
    ("a run begun anew", [start_step(), wait_step(), RETRIED], []),
    (
        "a wait of the next attempt",
        [wait_step(), RUN_FAILED, RETRIED, wait_step(LATER, "b")],
        [timer(LATER, "b")],
    ),
]


@pytest.mark.parametrize("batch", [1, 100])
@pytest.mark.parametrize(("facts", "pending"), [history[1:] for history in HISTORIES], ids=[h[0] for h in HISTORIES])
async def test_a_timer_is_pending_while_its_step_is_due_by_the_clock(
    database: str, facts: list[Fact], pending: list[Timer], batch: int
) -> None:
    models = ReadModels(database, ProjectionSettings(readers=1))
    other = new_id()
    history = number_facts([(other, wait_step(LATER, "untouched")), *((RUN, fact) for fact in facts)])
    async with open_read_models(database) as connection, models.open():
        for start in range(0, len(history), batch):
            await apply_facts(connection, TimersProjection(), history[start : start + batch])
            await apply_facts(connection, TimersProjection(), history[start : start + batch])
        found = await TimersView(models).due(LATER, 10)
    assert [timer for timer in found if timer.run_id == RUN] == pending
    assert [timer.node for timer in found if timer.run_id == other] == ["untouched"]


async def test_due_timers_come_in_pages_the_earliest_first(database: str) -> None:
    models = ReadModels(database, ProjectionSettings(readers=1))
    async with open_read_models(database) as connection, models.open():
        view = TimersView(models)
        facts = [(new_id(), wait_step(NOW + timedelta(seconds=second), "w")) for second in (3, 1, 2, 9)]
        await apply_facts(connection, TimersProjection(), number_facts(facts))
        due = NOW + timedelta(seconds=3)
        first = await view.due(due, 2)
        rest = await view.due(due, 2, first[-1])
        assert [timer.due_at for timer in (*first, *rest)] == [NOW + timedelta(seconds=n) for n in (1, 2, 3)]
        assert await view.next_after(due) == NOW + timedelta(seconds=9)
        assert await view.next_after(LATER) is None


async def test_the_next_of_many_timers_is_one_row_of_an_index(database: str) -> None:
    async with open_read_models(database) as connection:
        await connection.execute(
            "insert into timers select gen_random_uuid(), 'w', gen_random_uuid(), %s::timestamptz + n * interval '1s'"
            " from generate_series(1, 100000) n",
            [NOW],
        )
        await connection.execute("analyze timers")
        cursor: Any = await connection.execute("explain (analyze, format json) " + NEXT, {"now": NOW})
        [plan] = (await cursor.fetchone())[0]
    scan = plan["Plan"]["Plans"][0]
    assert scan["Node Type"] in {"Index Scan", "Index Only Scan"}
    assert (scan["Index Name"], scan["Actual Rows"]) == ("timers_by_due", 1)
