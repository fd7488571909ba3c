"""The tasks are the human steps that wait by the fold of their runs, however their facts come in batches."""

from itertools import pairwise
from typing import Any
from uuid import UUID

import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.fact import Fact
from domain.runs.facts import RunCancelled, RunFact, RunRetried, StepFailed, StepWaiting, WaitFor
from domain.runs.run import Run, evolve
from domain.runs.steps import StepStatus
from projections.read_models.tasks import TasksProjection
from store.log.records import Recorded
from tests.support.projections import histories
from tests.support.projections.given import NOW, apply_facts, new_id, number_facts, open_read_models

WAIT = StepWaiting(node="a", attempt=1, waiting_for=WaitFor.HUMAN, assignees=('"ada", {or} \\',), waiting_since=NOW)

laws = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
wanted: st.SearchStrategy[Fact] = st.one_of(
    *(facts for kind, facts in histories.run_facts_by_kind.items() if kind in TasksProjection.wants),
    st.builds(RunCancelled, cancelled_at=st.just(NOW)),
    st.builds(
        RunRetried,
        run_attempt=st.integers(2, 9),
        workflow_version=st.just(1),
        kept=st.just({}),
        retried_by=st.just("ada"),
        retried_at=st.just(NOW),
    ),
)


async def tasks_in(connection: psycopg.AsyncConnection) -> set[tuple[UUID, str, int]]:
    cursor: psycopg.AsyncCursor[Any] = await connection.execute("select run_id, node, position from tasks")
    return set(await cursor.fetchall())


def waiting_in(facts: list[Recorded]) -> set[tuple[UUID, str]]:
    runs: dict[UUID, Run] = {}
    for event in facts:
        fact: Any = event.fact
        runs[event.stream_id] = evolve(runs.get(event.stream_id, Run()), fact)
    return {
        (run_id, node)
        for run_id, run in runs.items()
        for node, step in run.steps.items()
        if step.status is StepStatus.WAITING and step.waiting is not None
        if step.waiting.waiting_for is WaitFor.HUMAN
    }


@laws
@given(histories.mix_streams(wanted, wanted), histories.cuts)
async def test_tasks_are_the_human_steps_that_wait(
    database: str, history: list[tuple[int, Fact]], cuts: list[int]
) -> None:
    ids = [new_id() for _ in range(4)]
    facts = number_facts([(ids[stream], fact) for stream, fact in history])
    edges = sorted({0, *(cut for cut in cuts if cut < len(facts)), len(facts)})
    async with open_read_models(database) as connection:
        await connection.execute("truncate tasks")
        projection = TasksProjection()
        for start, end in pairwise(edges):
            await apply_facts(connection, projection, facts[start:end])
            await apply_facts(connection, projection, facts[start:end])
        found = await tasks_in(connection)
    assert {(run_id, node) for run_id, node, _ in found} == waiting_in(facts)


async def test_a_step_that_waits_again_after_it_failed_is_one_task_of_the_later_wait(database: str) -> None:
    run = new_id()
    failed = StepFailed(node="a", attempt=1, error=histories.ERROR, failed_at=NOW)
    story: list[RunFact] = [WAIT, failed, WAIT]
    facts = number_facts([(run, fact) for fact in story])
    async with open_read_models(database) as connection:
        await apply_facts(connection, TasksProjection(), facts)
        assert await tasks_in(connection) == {(run, "a", 3)}
        await apply_facts(connection, TasksProjection(), facts[1:2])
        assert await tasks_in(connection) == {(run, "a", 3)}, "an older failure ends no later wait"


async def test_a_wait_for_time_or_for_children_is_no_task(database: str) -> None:
    waits = [
        StepWaiting(node=kind.value, attempt=1, waiting_for=kind, waiting_since=NOW)
        for kind in WaitFor
        if kind is not WaitFor.HUMAN
    ]
    run = new_id()
    async with open_read_models(database) as connection:
        await apply_facts(connection, TasksProjection(), number_facts([(run, wait) for wait in waits]))
        assert await tasks_in(connection) == set()


async def test_names_of_users_are_kept_as_they_are(database: str) -> None:
    run, project = new_id(), new_id()
    async with open_read_models(database) as connection:
        await apply_facts(connection, TasksProjection(), number_facts([(run, WAIT)], project=project))
        cursor: psycopg.AsyncCursor[Any] = await connection.execute("select found_by from tasks")
        assert await cursor.fetchall() == [([f"user:{WAIT.assignees[0]}", f"project:{project}"],)]
