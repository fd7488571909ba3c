"""Buckets hold what the facts of their time add up to, in the same bytes however the facts come in batches."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.json import decode
from msgspec.structs import replace

from domain.fact import Fact
from domain.graphs.graph import ErrorClass
from domain.payload import NOTHING
from domain.runs.facts import (
    Parent,
    Pins,
    RunCompleted,
    RunFact,
    RunFailed,
    RunRetried,
    RunStarted,
    StepCompleted,
    StepError,
    StepFailed,
    StepSkipped,
    StepStarted,
    Usage,
)
from projections.insights.projection import InsightsProjection
from projections.runtime.event_filter import EventFilter
from projections.runtime.skips import load_skips
from store.log.records import Recorded
from tests.projections.read_models.test_run_steps import batches
from tests.support.projections.given import NOW, apply_facts, new_id, open_read_models
from tests.support.projections.run_histories import PROMPT, START, WORKFLOW, cuts, mix_runs, number_run_facts, write_log

SUPPRESSED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
laws = settings(max_examples=25, suppress_health_check=SUPPRESSED)
Row = tuple[Any, ...]

EVERYTHING = "select b::text from insight_buckets b order by 1"
MEASURES = """
select grain, starts_at, kind, node, asset_version, key, sum(value::text::bigint)::bigint
  from insight_buckets, json_each(measures)
 where json_typeof(value) = 'number' group by grain, starts_at, kind, node, asset_version, key
"""


async def skip_them(connection: psycopg.AsyncConnection, log: list[Recorded], skipped: dict[int, bool]) -> None:
    """Skip facts by their positions, with the rest of the stream if requested."""
    await connection.execute("truncate skipped")
    for event in log:
        if event.position in skipped:
            await connection.execute(
                "insert into skipped values ('insights', %s, %s, %s, %s, '', '', %s, 'ada', 'for a test')",
                [event.position, event.workspace_id, event.stream_id, event.version, skipped[event.position]],
            )


async def read_rows(connection: psycopg.AsyncConnection, query: str) -> list[Row]:
    cursor: psycopg.AsyncCursor[Any] = await connection.execute(query.encode())
    return await cursor.fetchall()


async def project_in_batches(
    connection: psycopg.AsyncConnection, log: list[Recorded], cuts: list[int], remembered: int, forgets: str
) -> list[Row]:
    """Project a log in batches. Returns every row as text."""
    await connection.execute("truncate insight_buckets")
    projection = InsightsProjection(most_remembered=remembered)
    event_filter = EventFilter(projection.wants, skips=await load_skips(connection, projection.name))
    for batch in batches(event_filter.select(log, 0), cuts):
        await apply_facts(connection, projection, batch)
        if forgets == "forgets":
            projection.forget()
    return await read_rows(connection, EVERYTHING)


def count_by_hour(history: list[RunFact]) -> Counter[tuple[datetime, str, str]]:
    """Count facts by the hour of their own time, slowly: by kind of bucket and figure."""
    found: Counter[tuple[datetime, str, str]] = Counter()
    of: dict[type[Fact], tuple[str, str, str]] = {
        RunStarted: ("started_at", "run", "started"),
        RunCompleted: ("completed_at", "run", "completed"),
        RunFailed: ("failed_at", "run", "failed"),
        StepStarted: ("started_at", "step", "attempts"),
        StepCompleted: ("completed_at", "step", "completed"),
    }
    for fact in history:
        if isinstance(fact, StepFailed):
            found[hour(fact.failed_at), "step", "retries" if fact.retry_at else "failed"] += 1
        elif isinstance(fact, StepSkipped):
            found[hour(NOW), "step", "skipped"] += 1
        elif type(fact) in of:
            at, kind, figure = of[type(fact)]
            found[hour(getattr(fact, at)), kind, figure] += 1
        usage: Usage | None = getattr(fact, "usage", None)
        if usage is not None:
            times = (getattr(fact, name, None) for name in ("completed_at", "failed_at", "rejected_at", "refused_at"))
            found[hour(next(at for at in times if at is not None)), "model", "input_tokens"] += usage.input_tokens
    return found


def hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


@laws
@given(
    mix_runs(),
    cuts,
    st.sampled_from([1, 2, 100]),
    st.sampled_from(["forgets", "remembers"]),
    st.dictionaries(st.integers(2, 40), st.booleans(), min_size=1, max_size=3),
)
async def test_buckets_are_the_same_bytes_however_facts_come(
    database: str,
    history: list[tuple[int, RunFact]],
    cuts: list[int],
    remembered: int,
    forgets: str,
    skipped: dict[int, bool],
) -> None:
    ids = [new_id() for _ in range(4)]
    log = number_run_facts([(ids[stream], fact) for stream, fact in history], project=WORKFLOW)
    async with open_read_models(database) as connection:
        await write_log(connection, log)
        await skip_them(connection, log, skipped)
        at_once = await project_in_batches(connection, log, [], 100, "remembers")
        assert await project_in_batches(connection, log, cuts, remembered, forgets) == at_once
        assert await project_in_batches(connection, log, list(range(len(log))), 1, "forgets") == at_once


@laws
@given(mix_runs())
async def test_each_fact_counts_in_the_hour_of_its_own_time_and_in_its_day(
    database: str, history: list[tuple[int, RunFact]]
) -> None:
    ids = [new_id() for _ in range(4)]
    log = number_run_facts([(ids[stream], fact) for stream, fact in history], project=WORKFLOW)
    found: Counter[tuple[datetime, str, str]] = Counter()
    days: Counter[tuple[datetime, str, str]] = Counter()
    async with open_read_models(database) as connection:
        await write_log(connection, log)
        await project_in_batches(connection, log, [], 100, "remembers")
        for grain, at, kind, _, _, figure, count in await read_rows(connection, MEASURES):
            (found if grain == 3_600 else days)[at, "run" if kind == "child" else kind, figure] += count
    wanted = count_by_hour([fact for _, fact in history])
    assert {key: found[key] for key in wanted} == wanted
    by_day: Counter[tuple[datetime, str, str]] = Counter()
    for (at, kind, figure), count in found.items():
        by_day[at.replace(hour=0), kind, figure] += count
    assert by_day == days


async def test_a_step_counts_by_the_version_of_the_asset_that_its_run_has_pinned(database: str) -> None:
    run = new_id()
    began = RunStarted(
        workflow_id=WORKFLOW, workflow_version=1, inputs=NOTHING, pins=Pins(assets={PROMPT: 3}), started_at=START
    )
    claims = [StepStarted(node=node, attempt=1, executor="e", epoch=1, started_at=START) for node in ("a", "b")]
    log = number_run_facts([(run, began), *((run, claim) for claim in claims)], project=WORKFLOW)
    async with open_read_models(database) as connection:
        await write_log(connection, log)
        await project_in_batches(connection, log, [], 1, "remembers")
        rows = await read_rows(
            connection, "select node, asset_id, asset_version from insight_buckets where kind = 'step' and grain = 3600"
        )
    assert sorted(rows) == [("a", PROMPT, 3), ("b", None, 0)]


ALIKE = RunStarted(workflow_id=WORKFLOW, workflow_version=1, inputs=NOTHING, pins=Pins(), started_at=START)
OTHERS = {
    "version": replace(ALIKE, workflow_version=2),
    "workflow": replace(ALIKE, workflow_id=PROMPT),
    "child": replace(ALIKE, parent=Parent(run_id=WORKFLOW, node="a")),
    "asset": replace(ALIKE, pins=Pins(assets={PROMPT: 3})),
    "hour": replace(ALIKE, started_at=START + timedelta(hours=1)),
    "earlier": replace(ALIKE, started_at=START - timedelta(hours=1)),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS.keys())
async def test_runs_in_one_batch_that_differ_in_one_thing_count_as_if_they_came_one_by_one(
    database: str, other: RunStarted
) -> None:
    history: list[tuple[UUID, Fact]] = []
    for began in (ALIKE, other, ALIKE, other):
        run, at = new_id(), began.started_at
        claim = StepStarted(node="a", attempt=1, executor="e", epoch=1, started_at=at)
        history += [(run, began), (run, claim), (run, RunCompleted(output_nodes=("a",), completed_at=at))]
    log = number_run_facts(history, project=WORKFLOW)
    async with open_read_models(database) as connection:
        await write_log(connection, log)
        await skip_them(connection, log, {})
        at_once = await project_in_batches(connection, log, [], 100, "remembers")
        assert await project_in_batches(connection, log, list(range(len(log))), 100, "remembers") == at_once


async def test_what_is_skipped_is_left_out_also_when_a_run_is_read_again(database: str) -> None:
    run = new_id()
    began = RunStarted(workflow_id=WORKFLOW, workflow_version=1, inputs=NOTHING, pins=Pins(), started_at=START)
    claim = StepStarted(node="a", attempt=1, executor="e", epoch=1, started_at=START)
    done = StepCompleted(node="a", attempt=1, output=NOTHING, completed_at=START)
    log = number_run_facts([(run, began), (run, claim), (run, done)], project=WORKFLOW)
    async with open_read_models(database) as connection:
        await write_log(connection, log)
        await skip_them(connection, log, {3: False})
        remembered = await project_in_batches(connection, log, [], 100, "remembers")
        assert await project_in_batches(connection, log, [1, 2, 3], 100, "forgets") == remembered
    assert not any("duration" in row[0] for row in remembered), "nobody knows when the step began"


async def test_a_retry_on_a_newer_version_counts_there_from_the_same_batch_on(database: str) -> None:
    run = new_id()
    began = RunStarted(workflow_id=WORKFLOW, workflow_version=1, inputs=NOTHING, pins=Pins(), started_at=START)
    claim = StepStarted(node="a", attempt=1, executor="e", epoch=1, started_at=START)
    again = RunRetried(run_attempt=2, workflow_version=2, kept={}, retried_by="ada", retried_at=START)
    log = number_run_facts([(run, began), (run, claim), (run, again), (run, claim)], project=WORKFLOW)
    async with open_read_models(database) as connection:
        await write_log(connection, log)
        await skip_them(connection, log, {})
        await project_in_batches(connection, log, [], 100, "remembers")
        query = "select workflow_version from insight_buckets where kind = 'step' and grain = 3600 order by 1"
        assert await read_rows(connection, query) == [(1,), (2,)]


async def test_a_step_whose_output_a_retry_kept_completes_once_is_paid_for_once_and_lasts_nothing(
    database: str,
) -> None:
    run, usage = new_id(), Usage(model="m", input_tokens=7, output_tokens=1, latency_ms=1.0)
    error = StepError(error_class=ErrorClass.EXPRESSION, message="no such key")
    history = [
        RunStarted(workflow_id=WORKFLOW, workflow_version=1, inputs=NOTHING, pins=Pins(), started_at=START),
        StepStarted(node="a", attempt=1, executor="e", epoch=1, started_at=START),
        StepFailed(node="a", attempt=1, error=error, gave=NOTHING, usage=usage, failed_at=START),
        RunFailed(node="a", error=error, failed_at=START),
        RunRetried(run_attempt=2, workflow_version=1, kept={}, outputs_kept=("a",), retried_by="ada", retried_at=START),
        StepCompleted(node="a", attempt=1, output=NOTHING, completed_at=START),
    ]
    log = number_run_facts([(run, fact) for fact in history], project=WORKFLOW)
    async with open_read_models(database) as connection:
        await write_log(connection, log)
        await skip_them(connection, log, {})
        remembered = await project_in_batches(connection, log, [], 100, "remembers")
        assert await project_in_batches(connection, log, [1, 2, 3, 4, 5], 1, "forgets") == remembered
        query = "select measures::text from insight_buckets where kind = 'step' and grain = 3600"
        [(text,)] = await read_rows(connection, query)
    measures = decode(text)
    assert [measures[name] for name in ("started", "attempts", "failed", "completed")] == [1, 1, 1, 1]
    assert measures["input_tokens"] == 7
    assert "duration" not in text
