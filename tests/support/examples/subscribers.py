"""The example subscribers as processes, and what they have to count."""

import asyncio
import json
import signal
import sqlite3
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, cast
from uuid import UUID

from msgspec import Struct
from uuid_utils.compat import uuid7

from domain.fact import Fact
from domain.graphs.graph import ErrorClass
from domain.ids import from_uuid
from domain.payload import Payload
from domain.runs.facts import (
    AnswerRejected,
    Pins,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunStarted,
    StepCompleted,
    StepError,
    StepStarted,
    Usage,
)
from domain.workflow import WorkflowCreated, WorkflowRenamed
from store.log.log import Log
from tests.support.servers.nats import NatsForTests
from tests.support.servers.node import NODE
from tests.support.store.given import WORKSPACE, create_append, read_whole_log
from tests.support.waiting import eventually

TOP: Final = Path(__file__).parents[3]
FOLDER: Final = TOP / "examples" / "subscribers"
TYPESCRIPT: Final = FOLDER / "typescript"
SECONDS_MAX: Final = 30
NOW: Final = datetime(2026, 11, 27, 23, 59, 59, tzinfo=UTC)
ELSEWHERE: Final = UUID("0192f000-0000-7000-8000-000000000002")
"""Another workspace."""


class Program(Struct, frozen=True):
    """A subscriber: its name, and how it is started."""

    name: str
    command: tuple[str, ...]


PROGRAMS: Final = (
    Program("python", (sys.executable, str(FOLDER / "python" / "subscriber.py"))),
    Program("typescript", (str(NODE), str(TYPESCRIPT / "subscriber.ts"))),
)


class Subscriber:
    """A program with a file of its own."""

    def __init__(self, program: Program, server: NatsForTests, database: Path, *arguments: str) -> None:
        """Prepare a program for a server and a file."""
        self._command = (*program.command, "--nats-url", server.url, "--database", str(database), *arguments)
        self.durable = f"analytics-{program.name}"
        self.database = database

    async def run_to_end(self, *arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
        """Run it to its end. Return exit code, stdout and stderr."""
        process = await asyncio.create_subprocess_exec(
            *self._command, *arguments, stdin=PIPE, stdout=PIPE, stderr=PIPE, cwd=self.database.parent
        )
        async with asyncio.timeout(SECONDS_MAX):
            out, err = await process.communicate(stdin)
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    async def run_and_report(self, *arguments: str, stdin: bytes = b"") -> dict[str, Any]:
        """Run it to its end, which must be successful. Return its report."""
        code, out, err = await self.run_to_end(*arguments, "--json", stdin=stdin)
        assert code == 0, err
        return cast("dict[str, Any]", json.loads(out))

    @asynccontextmanager
    async def run_in_background(self, *arguments: str) -> AsyncGenerator[Process]:
        """Run it for the duration of the block; then kill it, if it has not ended."""
        command = (*self._command, "--json", "--ack-wait-seconds", "1", *arguments)
        process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, cwd=self.database.parent)
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    def read_counts(self) -> tuple[int, int]:
        """Return the numbers of events and of duplicate deliveries in its file."""
        if not self.database.exists():
            return 0, 0
        with closing(sqlite3.connect(self.database)) as connection:
            statement = "select (select count(*) from events), (select coalesce(sum(seen_before), 0) from scope)"
            try:
                return connection.execute(statement).fetchone()
            except sqlite3.OperationalError:  # the tables are not there yet
                return 0, 0

    async def wait_until_counted(self, events: int, *, seen_before: int = 0) -> None:
        """Wait until it has counted `events` events and `seen_before` duplicates."""

        async def holds() -> bool:
            counted, again = self.read_counts()
            return counted >= events and again >= seen_before

        what = f"{events} events are counted, and {seen_before} seen again"
        await eventually(holds, what=what, seconds=SECONDS_MAX)


async def stop_and_report(process: Process) -> dict[str, Any]:
    """Stop a running subscriber as Ctrl-C would. Return its last report."""
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(SECONDS_MAX):
        out, _ = await process.communicate()
    assert process.returncode == 0
    return cast("dict[str, Any]", json.loads(out))


# --- what is counted ----------------------------------------------------------------------------------------------


async def record_workflow_with_runs(log: Log, runs: int, *, workspace: UUID = WORKSPACE) -> int:
    """Record a workflow and runs of it that end in several ways. Return the last position."""
    project, workflow = uuid7(), uuid7()
    named = (WorkflowCreated(name="Draft", graph={"nodes": []}), WorkflowRenamed(name="Launch"))
    await _record(log, workflow, named, workspace, project)
    for number in range(runs):
        started = RunStarted(
            workflow_id=workflow, workflow_version=1, inputs=Payload(value={}), pins=Pins(), started_at=NOW
        )
        await _record(log, uuid7(), (started, *_make_run_facts(number)), workspace, project)
    return (await log.head())[0]


async def _record(log: Log, stream: UUID, facts: Sequence[Fact], workspace: UUID, project: UUID) -> None:
    await log.append(create_append(stream, 0, *facts, workspace=workspace, project=project))


def _make_run_facts(number: int) -> tuple[Fact, ...]:
    """Return the facts after the start of a run: model calls, one without a price, and one of three ends."""
    usage = Usage(model="m", input_tokens=number, output_tokens=7, latency_ms=1.5, cost_usd="0.000000000000000003")
    free = Usage(model="m", input_tokens=1, output_tokens=1, latency_ms=1.5)
    begun = StepStarted(node="a", attempt=1, executor="e", epoch=1, started_at=NOW)
    rejected = AnswerRejected(node="a", attempt=1, repair=1, problems=("no",), usage=free, rejected_at=NOW)
    output = Payload(value="é")
    done = StepCompleted(node="a", attempt=1, output=output, usage=usage, completed_at=NOW)
    ends = (
        RunCompleted(output_nodes=("a",), completed_at=NOW),
        RunFailed(node="a", error=StepError(error_class=ErrorClass.TIMEOUT, message="late"), failed_at=NOW),
        RunCancelled(cancelled_at=NOW),
    )
    return begun, rejected, done, ends[number % len(ends)]


async def count_expected(log: Log, *, workspace: UUID | None = None) -> list[dict[str, Any]]:
    """Count the log from its facts, with decimals; the programs count envelopes, with integers."""
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    workflows: dict[UUID, UUID] = {}
    names: dict[UUID, str] = {}
    for event in await read_whole_log(log):
        if workspace not in (None, event.workspace_id):
            continue
        match event.fact:
            case WorkflowCreated(name=name) | WorkflowRenamed(name=name):
                names[event.stream_id] = name
                continue
            case RunStarted(workflow_id=workflow):
                workflows[event.stream_id] = workflow
            case _:
                pass
        workflow = workflows.get(event.stream_id)
        if workflow is None:  # of a project
            continue
        day = event.recorded_at.astimezone(UTC).date().isoformat()
        key = (from_uuid("ws", event.workspace_id), from_uuid("wf", workflow), day)
        _add_fact(rows.setdefault(key, _make_empty_row(*key, names[workflow])), cast("Fact", event.fact))
    return [{**row, "cost_usd": f"{row['cost_usd'].normalize():f}"} for _, row in sorted(rows.items())]


def _make_empty_row(workspace: str, workflow: str, day: str, name: str) -> dict[str, Any]:
    numbers = ("started", "completed", "failed", "cancelled", "model_calls", "input_tokens", "output_tokens")
    which = {"workspace": workspace, "workflow": workflow, "name": name, "day": day}
    return {**which, **dict.fromkeys(numbers, 0), "cost_usd": Decimal(0)}


def _add_fact(row: dict[str, Any], fact: Fact) -> None:
    match fact:
        case RunStarted():
            row["started"] += 1
        case RunCompleted():
            row["completed"] += 1
        case RunFailed():
            row["failed"] += 1
        case RunCancelled():
            row["cancelled"] += 1
        case StepCompleted(usage=Usage() as usage) | AnswerRejected(usage=Usage() as usage):
            row["model_calls"] += 1
            row["input_tokens"] += usage.input_tokens
            row["output_tokens"] += usage.output_tokens
            row["cost_usd"] += Decimal(usage.cost_usd or 0)
        case _:
            pass
