"""A generated log for `rebuild`: projects, workflows, prompts, and runs of several shapes that overlap in time.

Of a hundred runs 62 go through at once, 20 wait for a person, 10 retry a step, 5 fail and 3 are cancelled; beside them
names and prompts are changed now and then. Answers of models are a few hundred characters long.
"""

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec
import psycopg
from msgspec import Struct
from psycopg import Connection

from bench.harness.progress import print_progress
from domain.asset import AssetContentRevised, AssetCreated, AssetType
from domain.fact import Fact, get_topic
from domain.graphs.graph import ErrorClass, Graph
from domain.graphs.stored import write_stored_graph
from domain.payload import Payload
from domain.project import ProjectCreated, ProjectRenamed
from domain.runs.facts import (
    Pins,
    RunCancelled,
    RunCancelRequested,
    RunCompleted,
    RunFailed,
    RunStarted,
    StepCompleted,
    StepDecided,
    StepError,
    StepFailed,
    StepStarted,
    StepWaiting,
    Usage,
    WaitFor,
)
from domain.workflow import WorkflowCreated, WorkflowRenamed
from store.log.codec import encode_fact
from store.postgres.arrays import blobs, longs, register, texts, times, uuids

CHUNK: Final = 20_000
WORKSPACES: Final = 10
PROJECTS: Final = 100
UNDER_WAY: Final = 300
"""How many runs overlap at any moment."""

BEGAN: Final = datetime(2026, 1, 1, tzinfo=UTC)
A_FACT: Final = timedelta(milliseconds=20)
METADATA: Final = '{"actor":{"kind":"engine","id":"engine-1"},"correlation_id":"0af7651916cd43dd8448eb211c80319c"}'
ANSWER: Final = "The launch of a product is a promise kept in public, and every word of it is read twice. " * 4
MODEL: Final = "openai/gpt-5-mini"

GRAPH: Final = msgspec.convert(
    {
        "nodes": [
            {"kind": "transform", "id": "brief"},
            {
                "kind": "prompt",
                "id": "draft",
                "config": {"model": MODEL, "template": "Write about {{ inputs.topic }}."},
            },
            {"kind": "human", "id": "review", "config": {"assignees": [{"role": "editor"}]}},
            {"kind": "transform", "id": "publish"},
        ],
        "edges": [
            {"from": "brief", "to": "draft"},
            {"from": "draft", "to": "review"},
            {"from": "review", "to": "publish"},
        ],
    },
    Graph,
)

WRITE: Final = """
insert into events (notification_id, originator_version, recorded_at, originator_id, workspace_id, project_id,
                    state_format, topic, metadata, state)
select n.position, n.version, n.recorded_at, n.stream, n.workspace, n.project, 1, n.topic,
       %(metadata)s::text::json, n.state
  from unnest(%(positions)b::bigint[], %(versions)b::bigint[], %(recorded_at)b::timestamptz[], %(streams)b::uuid[],
              %(workspaces)b::uuid[], %(projects)b::uuid[], %(topics)b::text[], %(states)b::bytea[])
       as n (position, version, recorded_at, stream, workspace, project, topic, state)
"""
"""Write a stretch of the log at once."""

HEAD: Final = "update log_head set position = %s, recorded_at = %s"


class Stream(Struct, kw_only=True):
    """A stream that is being written."""

    id: UUID
    workspace_id: UUID
    project_id: UUID
    version: int = 0


class Home(Struct, frozen=True, kw_only=True):
    """A project with its workflow and its prompt."""

    project: Stream
    workflow: Stream
    prompt: Stream


Row = tuple[Stream, Fact]


def generate(conninfo: str, events: int) -> None:
    """Fill an empty log with so many events; the same ones each time."""
    chance = random.Random(20_260_501)  # noqa: S311  # figures, nothing secret
    facts = _history(chance)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        register(connection)
        for first in range(1, events + 1, CHUNK):
            last = min(events, first + CHUNK - 1)
            _write(connection, [next(facts) for _ in range(first, last + 1)], first)
        connection.execute("vacuum analyze events")
    print_progress(f"  a log of {events:,} events")


def _write(connection: Connection, rows: Sequence[Row], first: int) -> None:
    versions: list[int] = []
    for stream, _ in rows:
        stream.version += 1
        versions.append(stream.version)
    moments = [_moment(first + place) for place in range(len(rows))]
    with connection.transaction():
        connection.execute(
            WRITE,
            {
                "metadata": METADATA,
                "positions": longs(range(first, first + len(rows))),
                "versions": longs(versions),
                "recorded_at": times(moments),
                "streams": uuids([stream.id for stream, _ in rows]),
                "workspaces": uuids([stream.workspace_id for stream, _ in rows]),
                "projects": uuids([stream.project_id for stream, _ in rows]),
                "topics": texts([get_topic(type(fact)) for _, fact in rows]),
                "states": blobs([encode_fact(fact) for _, fact in rows]),
            },
        )
        connection.execute(HEAD, [first + len(rows) - 1, moments[-1]])


def _moment(position: int) -> datetime:
    return BEGAN + position * A_FACT


def _history(chance: random.Random) -> Iterator[Row]:
    """Yield facts without end: the projects first, then runs that overlap, with a change of a name now and then."""
    ids = _ids()
    homes = [_home(ids, number) for number in range(PROJECTS)]
    written = 0
    for home in homes:
        for row in _create_project_facts(home):
            written += 1
            yield row
    runs: list[Iterator[Row]] = []
    while True:
        written += 1
        if chance.random() < 0.005:  # noqa: PLR2004  # five in a thousand
            yield _create_change(chance, chance.choice(homes))
            continue
        while len(runs) < UNDER_WAY:
            runs.append(_run(next(ids), chance.choice(homes), chance.randrange(100), _moment(written)))
        place = chance.randrange(len(runs))
        row = next(runs[place], None)
        while row is None:
            runs[place] = _run(next(ids), chance.choice(homes), chance.randrange(100), _moment(written))
            row = next(runs[place])
        yield row


def _ids() -> Iterator[UUID]:
    """Yield UUIDs of version 7 (RFC 9562), one a millisecond."""
    since = int(BEGAN.timestamp() * 1_000)
    chance = random.Random(7)  # noqa: S311  # as above
    while True:
        since += 1
        yield UUID(int=since << 80 | 0x7 << 76 | chance.getrandbits(12) << 64 | 0b10 << 62 | chance.getrandbits(62))


def _home(ids: Iterator[UUID], number: int) -> Home:
    workspace = UUID(int=0x0192F00000007000800000000000B000 + number % WORKSPACES)
    project = next(ids)
    streams = [
        Stream(id=stream_id, workspace_id=workspace, project_id=project)
        for stream_id in (project, next(ids), next(ids))
    ]
    return Home(project=streams[0], workflow=streams[1], prompt=streams[2])


def _create_project_facts(home: Home) -> Iterator[Row]:
    yield home.project, ProjectCreated(name="Launch", owner="usr_ada")
    content = Payload(value={"template": "Write about {{ inputs.topic }}."})
    yield home.prompt, AssetCreated(type=AssetType.PROMPT, label="Brief", metadata={}, content=content)
    yield home.workflow, WorkflowCreated(name="Campaign", graph=write_stored_graph(GRAPH))


def _create_change(chance: random.Random, home: Home) -> Row:
    number = chance.randrange(10**6)
    match number % 3:
        case 0:
            return home.project, ProjectRenamed(name=f"Launch {number}")
        case 1:
            return home.workflow, WorkflowRenamed(name=f"Campaign {number}")
        case _:
            return home.prompt, AssetContentRevised(version=2, content=Payload(value={"template": f"No. {number}"}))


def _run(run_id: UUID, home: Home, kind: int, at: datetime) -> Iterator[Row]:
    stream = Stream(id=run_id, workspace_id=home.project.workspace_id, project_id=home.project.id)
    pins = Pins(assets={home.prompt.id: 1})
    inputs = Payload(value={"topic": "a new lamp", "audience": "readers", "words": 120})
    started = RunStarted(workflow_id=home.workflow.id, workflow_version=1, inputs=inputs, pins=pins, started_at=at)
    return ((stream, fact) for fact in (started, *_course(kind, at)))


def _course(kind: int, at: datetime) -> Iterator[Fact]:
    """Return the facts after the start of a run, by its kind: a number below 100."""
    yield from _step("brief", at)
    yield _start_step("draft", 1, at)
    if kind < 62:  # noqa: PLR2004  # of a hundred
        yield _complete_step(1, at)
    elif kind < 82:  # noqa: PLR2004  # of a hundred
        yield _complete_step(1, at)
        yield _start_step("review", 1, at)
        yield StepWaiting(
            node="review", attempt=1, waiting_for=WaitFor.HUMAN, until=at + timedelta(days=1), roles=("editor",),
            outcomes=("approve", "reject"), shown=Payload(value={"text": ANSWER}), shown_hash="5" * 64,
            waiting_since=at,
        )  # fmt: skip
        yield StepDecided(
            node="review", outcome="approve", data=Payload(value={}), decided_by="usr_ada", shown_hash="5" * 64,
            decided_at=at,
        )  # fmt: skip
        yield StepCompleted(node="review", attempt=1, output=Payload(value={"outcome": "approve"}), completed_at=at)
    elif kind < 92:  # noqa: PLR2004  # of a hundred
        yield _fail_step(1, at, retry_at=at + timedelta(seconds=2))
        yield _start_step("draft", 2, at)
        yield _complete_step(2, at)
    elif kind < 97:  # noqa: PLR2004  # of a hundred
        yield _fail_step(1, at, retry_at=None)
        yield RunFailed(node="draft", error=_error(), failed_at=at)
        return
    else:
        yield RunCancelRequested(requested_by="usr_ada", requested_at=at)
        yield RunCancelled(cancelled_at=at)
        return
    yield from _step("publish", at)
    yield RunCompleted(output_nodes=("publish",), completed_at=at)


def _step(node: str, at: datetime) -> Iterator[Fact]:
    yield _start_step(node, 1, at)
    output = Payload(value={"title": "A new lamp", "tags": ["light", "home"]})
    yield StepCompleted(node=node, attempt=1, output=output, edges_taken=(0,), completed_at=at)


def _start_step(node: str, attempt: int, at: datetime) -> Fact:
    return StepStarted(node=node, attempt=attempt, executor="engine-1", epoch=1, started_at=at)


def _complete_step(attempt: int, at: datetime) -> Fact:
    usage = Usage(
        model=MODEL, input_tokens=412, output_tokens=96, latency_ms=812.5, first_token_ms=140.25, cost_usd="0.00021"
    )
    output = Payload(value={"text": ANSWER})
    return StepCompleted(node="draft", attempt=attempt, output=output, edges_taken=(1,), usage=usage, completed_at=at)


def _fail_step(attempt: int, at: datetime, *, retry_at: datetime | None) -> Fact:
    return StepFailed(node="draft", attempt=attempt, error=_error(), retry_at=retry_at, failed_at=at)


def _error() -> StepError:
    return StepError(error_class=ErrorClass.TIMEOUT, message="the provider did not answer in time")
