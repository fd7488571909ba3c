"""Histories of runs for the projections that fold courses: any facts in any order, over several days, in a log."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar
from uuid import UUID

from hypothesis import strategies as st
from msgspec.structs import replace
from psycopg import AsyncConnection

from domain.fact import Fact, get_topic
from domain.graphs.configs import PromptConfig
from domain.graphs.graph import ErrorClass, Graph, PromptNode, TransformNode
from domain.graphs.stored import write_stored_graph
from domain.ids import from_uuid
from domain.payload import NOTHING, Payload
from domain.runs.facts import (
    AnswerRejected,
    Parent,
    Pins,
    RunCancelled,
    RunCancelRequested,
    RunCompleted,
    RunFact,
    RunFailed,
    RunRetried,
    RunSignalled,
    RunStarted,
    StepCompleted,
    StepDecided,
    StepError,
    StepFailed,
    StepItemCounted,
    StepResultRefused,
    StepReused,
    StepSkipped,
    StepStarted,
    StepWaiting,
    Usage,
    UsageTotals,
    WaitFor,
)
from domain.runs.run import Run, evolve
from domain.runs.steps import SETTLED
from domain.workflow import WorkflowCreated
from store.log.codec import PLAIN_JSON, encode_fact, encode_metadata
from store.log.records import Recorded
from tests.support.projections.given import number_facts

START: Final = datetime(2026, 5, 1, 22, 30, 0, tzinfo=UTC)
WORKFLOW: Final = UUID("0192f000-0000-7000-8000-00000000f10e")
PROMPT: Final = UUID("0192f000-0000-7000-8000-00000000a55e")
GRAPH: Final = Graph(
    nodes=(
        PromptNode(id="a", config=PromptConfig(model="openai/gpt-5", asset_id=from_uuid("ast", PROMPT))),
        TransformNode(id="b"),
    )
)
LOGGED: Final = """
insert into events (notification_id, originator_id, originator_version, recorded_at, workspace_id, project_id,
                    state_format, topic, metadata, state)
values (%s, %s, %s, %s, %s, %s, %s, %s, %s::json, %s)
"""
S = TypeVar("S")


def usage(model: str = "openai/gpt-5", *, tokens: int = 7, ms: float = 12.5, cost: str | None = "0.001") -> Usage:
    return Usage(model=model, input_tokens=tokens, output_tokens=3, latency_ms=ms, cost_usd=cost)


times = st.integers(0, 3 * 24 * 60).map(lambda minutes: START + timedelta(minutes=minutes, microseconds=minutes))
nodes = st.sampled_from(["a", "b"])
attempts = st.integers(1, 3)
usages = st.none() | st.builds(
    usage,
    st.sampled_from(["openai/gpt-5", "local/small"]),
    tokens=st.integers(0, 9),
    ms=st.floats(0, 9_999),
    cost=st.sampled_from([None, "0", "0.001", "12.5"]),
)
errors = st.builds(StepError, error_class=st.sampled_from(ErrorClass), message=st.just("no"))
starts = st.builds(
    RunStarted,
    workflow_id=st.just(WORKFLOW),
    workflow_version=st.just(1),
    inputs=st.just(NOTHING),
    pins=st.sampled_from([Pins(), Pins(assets={PROMPT: 3}), Pins(assets={PROMPT: 4})]),
    parent=st.none() | st.just(Parent(run_id=WORKFLOW, node="a")),
    started_at=times,
)
facts: st.SearchStrategy[RunFact] = st.one_of(
    st.builds(StepStarted, node=nodes, attempt=attempts, executor=st.just("e"), epoch=st.just(1), started_at=times),
    st.builds(
        StepCompleted,
        node=nodes,
        attempt=attempts,
        output=st.just(NOTHING),
        edges_taken=st.lists(st.integers(0, 3), max_size=2).map(tuple),
        usage=usages,
        completed_at=times,
    ),
    st.builds(
        StepFailed,
        node=nodes,
        attempt=attempts,
        error=errors,
        retry_at=st.none() | times,
        gave=st.none() | st.just(Payload(value=1)),
        usage=usages,
        failed_at=times,
    ),
    st.builds(StepWaiting, node=nodes, attempt=attempts, waiting_for=st.sampled_from(WaitFor), waiting_since=times),
    st.builds(
        StepDecided,
        node=nodes,
        outcome=st.sampled_from(["approve", "reject"]),
        data=st.just(NOTHING),
        decided_by=st.sampled_from(["ada", "system"]),
        shown_hash=st.none(),
        decided_at=times,
    ),
    st.builds(StepSkipped, node=nodes, reason=st.just("no edge")),
    st.builds(StepReused, node=nodes, from_run=st.just(WORKFLOW), output=st.just(NOTHING), reused_at=times),
    st.builds(
        AnswerRejected,
        node=nodes,
        attempt=attempts,
        repair=st.just(1),
        problems=st.just(()),
        usage=usages,
        rejected_at=times,
    ),
    st.builds(RunSignalled, name=st.just("go"), data=st.just(NOTHING), signalled_by=st.just("ada"), signalled_at=times),
    st.builds(
        StepItemCounted,
        node=nodes,
        item=st.just(0),
        run_id=st.just(WORKFLOW),
        took=st.just(UsageTotals(model_calls=1)),
        counted_at=times,
    ),
    st.builds(StepResultRefused, node=nodes, attempt=attempts, reason=st.just("late"), usage=usages, refused_at=times),
    st.builds(RunCompleted, output_nodes=st.just(()), completed_at=times),
    st.builds(RunFailed, node=nodes, error=errors, failed_at=times),
    st.builds(RunCancelRequested, requested_by=st.just("ada"), requested_at=times),
    st.builds(RunCancelled, cancelled_at=times),
    st.builds(
        RunRetried,
        run_attempt=st.just(2),
        workflow_version=st.sampled_from([1, 2]),
        kept=st.sets(nodes, max_size=2).map(lambda kept: dict.fromkeys(sorted(kept), ())),
        outputs_kept=st.sets(nodes, max_size=2).map(lambda kept: tuple(sorted(kept))),
        retried_by=st.just("ada"),
        retried_at=times,
    ),
)


def keep_settled_steps(history: list[RunFact]) -> list[RunFact]:
    """Drop unsettled steps from what each retry keeps: the fold of a run relies on that."""
    run = Run()
    mended: list[RunFact] = []
    for fact in history:
        kept_fact = fact
        if isinstance(fact, RunRetried):
            settled = {node for node, step in run.steps.items() if step.status in SETTLED}
            given = {node for node, step in run.steps.items() if step.gave is not None}
            kept = {node: edges for node, edges in fact.kept.items() if node in settled - given}
            kept_fact = replace(
                fact, kept=kept, outputs_kept=tuple(node for node in fact.outputs_kept if node in given)
            )
        run = evolve(run, kept_fact)
        mended.append(kept_fact)
    return mended


@st.composite
def mix_runs(draw: st.DrawFn) -> list[tuple[int, RunFact]]:
    """Return facts of up to three runs, interleaved; long enough that most meet state left by others."""
    runs = [
        keep_settled_steps([draw(starts), *draw(st.lists(facts, min_size=6, max_size=14))])
        for _ in range(draw(st.integers(1, 3)))
    ]
    order = draw(st.permutations([number for number, its in enumerate(runs) for _ in its]))
    following = [iter(its) for its in runs]
    return [(number, next(following[number])) for number in order]


cuts = st.lists(st.integers(1, 45), min_size=1, max_size=6)
"""Where a history is cut into batches."""


def number_run_facts(runs: Sequence[tuple[UUID, Fact]], *, project: UUID) -> list[Recorded]:
    """Return the facts of runs as recorded in a log, after the creation of their workflow."""
    return number_facts(
        [(WORKFLOW, WorkflowCreated(name="w", graph=write_stored_graph(GRAPH))), *runs], project=project
    )


async def write_log(connection: AsyncConnection[Any], history: Sequence[Recorded]) -> None:
    """Write a log as it stands, from its beginning; what was there is gone."""
    await connection.execute("truncate events")
    rows = [
        (
            event.position,
            event.stream_id,
            event.version,
            event.recorded_at,
            event.workspace_id,
            event.project_id,
            PLAIN_JSON,
            get_topic(type(event.fact)),
            encode_metadata(event.metadata).decode(),
            encode_fact(event.fact),
        )
        for event in history
    ]
    async with connection.cursor() as cursor:
        await cursor.executemany(LOGGED, rows)
