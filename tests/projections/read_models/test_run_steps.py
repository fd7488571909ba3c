"""The rows of steps are those of the fold of their runs, however the facts come and whatever is remembered."""

from datetime import datetime
from itertools import pairwise
from typing import Any
from uuid import UUID

import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.runs.facts import RunFact, RunRetried, RunStarted, StepReused, StepSkipped, StepStarted, Usage
from domain.runs.run import Run, evolve
from projections.read_models.run_steps import RunStepsProjection
from projections.timelines.run_timeline import parse_usd_as_pico
from store.log.records import Recorded
from tests.support.projections.given import apply_facts, new_id, open_read_models
from tests.support.projections.run_histories import PROMPT, WORKFLOW, cuts, mix_runs, number_run_facts, write_log

SUPPRESSED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
laws = settings(max_examples=25, suppress_health_check=SUPPRESSED)
Row = tuple[Any, ...]

READ = """
select run_id, node, status, attempt, first_started_at, started_at, ended_at, calls, input_tokens, cost_pico,
       asset_version, kind
  from run_steps
"""


def batches(history: list[Recorded], cuts: list[int]) -> list[list[Recorded]]:
    edges = sorted({0, *(cut for cut in cuts if cut < len(history)), len(history)})
    return [history[start:end] for start, end in pairwise(edges)]


def of_runs(history: list[Recorded]) -> list[Recorded]:
    return [event for event in history if type(event.fact) in RunStepsProjection.wants]


async def read_rows(connection: psycopg.AsyncConnection) -> set[Row]:
    cursor: psycopg.AsyncCursor[Any] = await connection.execute(READ)
    return set(await cursor.fetchall())


def collect_usages(history: list[RunFact]) -> dict[str, list[Usage]]:
    """Return the usage of each call by step since the step last started afresh, from every fact."""
    found: dict[str, list[Usage]] = {}
    run = Run()
    for fact in history:
        run = evolve(run, fact)
        match fact:
            case RunStarted() | RunRetried():
                found = {node: calls for node, calls in found.items() if node in run.steps}
            case StepSkipped(node=node) | StepReused(node=node):
                found[node] = []
            case _:
                usage: Usage | None = getattr(fact, "usage", None)
                node: str | None = getattr(fact, "node", None)
                if usage is not None and node in run.steps:
                    found.setdefault(node, []).append(usage)
    return found


def collect_first_starts(history: list[RunFact]) -> dict[str, datetime]:
    """Return when each step was first claimed since it last started afresh, from every fact."""
    found: dict[str, datetime] = {}
    run = Run()
    for fact in history:
        run = evolve(run, fact)
        match fact:
            case RunStarted() | RunRetried():
                found = {node: at for node, at in found.items() if node in run.steps}
            case StepSkipped(node=node) | StepReused(node=node):
                found.pop(node, None)
            case StepStarted(node=node, started_at=at):
                found.setdefault(node, at)
            case _:
                pass
    return found


def compute_rows(run_id: UUID, history: list[RunFact]) -> set[Row]:
    run = Run()
    for fact in history:
        run = evolve(run, fact)
    took = collect_usages(history)
    firsts = collect_first_starts(history)
    pinned = next((fact.pins.assets.get(PROMPT, 0) for fact in history if isinstance(fact, RunStarted)), 0)
    return {
        (
            run_id,
            node,
            step.status.value,
            step.attempt,
            firsts.get(node),
            step.started_at,
            step.ended_at,
            len(took.get(node, [])),
            sum(usage.input_tokens for usage in took.get(node, [])),
            sum(parse_usd_as_pico(usage.cost_usd) for usage in took.get(node, []) if usage.cost_usd is not None),
            pinned if node == "a" else 0,
            {"a": "prompt", "b": "transform"}.get(node),
        )
        for node, step in run.steps.items()
    }


@laws
@given(
    mix_runs(),
    cuts,
    st.sampled_from([1, 2, 100]),
    st.sampled_from(["forgets", "remembers"]),
)
async def test_rows_of_steps_are_those_of_the_fold(
    database: str, history: list[tuple[int, RunFact]], cuts: list[int], remembered: int, forgets: str
) -> None:
    ids = [new_id() for _ in range(4)]
    log = number_run_facts([(ids[stream], fact) for stream, fact in history], project=WORKFLOW)
    projection = RunStepsProjection(most_remembered=remembered)
    async with open_read_models(database) as connection:
        await connection.execute("truncate run_steps")
        await write_log(connection, log)
        for batch in batches(of_runs(log), cuts):
            await apply_facts(connection, projection, batch)
            if forgets == "forgets":
                projection.forget()
        rows = await read_rows(connection)
    by_run: dict[UUID, list[Any]] = {run_id: [] for run_id in ids}
    for stream, fact in history:
        by_run[ids[stream]].append(fact)
    wanted = set[Row]().union(*(compute_rows(run_id, its) for run_id, its in by_run.items()))
    ours = {row for row in rows if row[0] in by_run}
    # A retry may name a version whose graph is not in this log: then neither kind nor asset is known.
    if not any(isinstance(fact, RunRetried) and fact.workflow_version != 1 for _, fact in history):
        assert ours == wanted
    assert {row[:9] for row in ours} == {row[:9] for row in wanted}
