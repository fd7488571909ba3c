"""Engines on a real log: a harness of log, feed, handler and engines, with a fake model that can be held back."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any
from uuid import UUID

from msgspec import structs

from bus.feed import Feed
from bus.settings import FeedSettings
from commands.aggregates import RUN
from commands.handler import Handler
from commands.repository import Streams
from commands.runs.start import DecideStep, StartRun
from domain.fact import Fact
from domain.payload import Payload
from domain.runs.facts import StepCompleted, StepFailed, StepSkipped, StepStarted
from domain.runs.run import Run, RunStatus
from domain.runs.steps import StepStatus
from engine.children.families import Families
from engine.cluster.owner import Owner
from engine.egress.guard import Guard
from engine.engine import Engine
from engine.executors import Executors
from engine.providers.choice import ConfiguredProvider, Providers
from engine.settings import EngineSettings, OutgoingSettings
from engine.steps.attachments import Attachments
from engine.steps.call_records import CallRecorder
from engine.steps.child import ChildSteps
from engine.steps.contract import StepCall
from engine.steps.evaluator import Evaluator
from engine.steps.http.step import HttpSteps
from engine.steps.media import MediaStore
from engine.steps.prompt import Prompts
from engine.steps.prompt_assets import MediaAssetFiles, PromptAssetTexts
from engine.turns.context import EngineContext
from engine.turns.data_limit import RUN_DATA_BYTES
from engine.turns.graph_cache import GraphCache
from projections.read_models.runs import RunsProjection
from projections.read_models.runs_view import RunsView
from projections.read_models.timers import TimersProjection
from projections.read_models.timers_view import TimersView
from projections.runtime.checkpoints import Checkpoints
from projections.runtime.read_pool import ReadModels
from projections.runtime.worker import Worker
from projections.settings import ProjectionSettings
from store.contents import PostgresContents
from store.failpoint import FailPointHook, noop
from store.postgres.migrations import migrate
from store.settings import RunSettings, StoreSettings
from tests.support.commands.processes import Process, new_id, now
from tests.support.engine.fake_model import PRICES, FakeModel
from tests.support.engine.workers import open_evaluator
from tests.support.graphs import Json, node
from tests.support.projections.given import run_in_background
from tests.support.store.given import WORKSPACE, open_log
from tests.support.waiting import eventually

PATIENCE_SECONDS = 30.0
TIMERS = EngineSettings()
BOUNDS = RunSettings()


@dataclass
class HeldContents:
    """A content store whose readers wait while it is closed."""

    kept: PostgresContents
    open: asyncio.Event
    waiting: int = 0

    async def put(self, workspace_id: UUID, content: bytes, media_type: str, digest_key: bytes | None = None) -> str:
        return await self.kept.put(workspace_id, content, media_type, digest_key)

    async def get(self, workspace_id: UUID, reference: str) -> tuple[bytes, str]:
        self.waiting += 1
        await self.open.wait()
        self.waiting -= 1
        return await self.kept.get(workspace_id, reference)


def asks(node_id: str, model: str = "free", **fields: Any) -> Json:  # noqa: ANN401  # JSON
    """Return a prompt node that asks the fake model for its own id."""
    return node(node_id, kind="prompt", config={"model": f"fake/{model}", "template": node_id}, **fields)


def reviews(node_id: str, **config: Any) -> Json:  # noqa: ANN401  # JSON
    return node(node_id, kind="human", config={"assignees": [{"user": "rita"}], **config})


def _no_deltas(_call: StepCall, _number: int) -> Callable[[str], None]:
    return lambda _text: None


@dataclass(frozen=True, slots=True)
class Harness(Process):
    """A process that handles commands and can have engines."""

    database: str
    feed: Feed
    models: ReadModels
    fake_model: FakeModel
    contents: HeldContents
    slow: Evaluator
    http: HttpSteps | None = None
    run_data_bytes: int = RUN_DATA_BYTES
    bounds: RunSettings = BOUNDS

    def executors(self) -> Executors:
        return Executors(
            prompts=Prompts(
                providers=Providers({"fake": ConfiguredProvider(provider=self.fake_model)}),
                prompt_assets=PromptAssetTexts(self.log, self.contents, most_kept=10),
                on_delta=_no_deltas,
                on_end=lambda _call: None,
                attachments=Attachments(MediaStore(self.contents), MediaAssetFiles(self.log, most_kept=10), 100_000),
                recorder=CallRecorder(contents=self.contents, digest_key=b"key"),
                timeout_seconds=60,
                slow=self.slow,
            ),
            http=self.http or HttpSteps(Guard(), {}, OutgoingSettings(), self.slow),
            children=ChildSteps(log=self.log, contents=self.contents, slow=self.slow),
            contents=self.contents,
            clock=now,
            shown_key=b"key",
            slow=self.slow,
        )

    def engine(
        self,
        name: str = "first",
        active_runs: int = 100,
        timers: EngineSettings = TIMERS,
        heartbeat_seconds: float = 0.05,
        failpoint: FailPointHook = noop,
        ending_runs: int = 100,
    ) -> Engine:
        return Engine(
            name=name,
            conninfo=self.database,
            log=self.log,
            feed=self.feed,
            streams=self.streams,
            executors=self.executors(),
            runs=RunsView(self.models),
            timers=TimersView(self.models),
            clock=now,
            random=Random(1),  # noqa: S311  # jitter
            failpoint=failpoint,
            families=Families(self.log.sessions, self.streams, self.bounds),
            settings=structs.replace(
                timers,
                active_runs=active_runs,
                ending_runs=ending_runs,
                kept_graphs=10,
                run_data_bytes=self.run_data_bytes,
                lease_seconds=max(5.0, 2 * heartbeat_seconds),
                heartbeat_seconds=heartbeat_seconds,
                lease_delay_seconds=0.02,
                takeover_grace_seconds=0.2,
            ),
        )

    def context(self, owner: Owner) -> EngineContext:
        """Return a context to drive runs without the engine around them."""
        return EngineContext(
            log=self.log,
            streams=self.streams,
            contents=self.contents,
            executors=self.executors(),
            graphs=GraphCache(self.log, max_entries=10),
            families=Families(self.log.sessions, self.streams, self.bounds),
            owner=owner,
            clock=now,
            random=Random(1),  # noqa: S311  # jitter
        )

    @asynccontextmanager
    async def run_engine(
        self,
        name: str = "first",
        active_runs: int = 100,
        timers: EngineSettings = TIMERS,
        heartbeat_seconds: float = 0.05,
        failpoint: FailPointHook = noop,
        ending_runs: int = 100,
    ) -> AsyncGenerator[Engine]:
        """Run an engine until the end of the block, where it is cancelled at whatever point it is."""
        engine = self.engine(name, active_runs, timers, heartbeat_seconds, failpoint, ending_runs)
        async with run_in_background(engine.run()):
            yield engine

    async def start(self, workflow: UUID, inputs: Any = None) -> UUID:  # noqa: ANN401  # JSON
        run = new_id()
        await self.does(StartRun(target_id=run, workflow_id=workflow, inputs=Payload(value=inputs or {})))
        return run

    async def begin(self, raw: Json, inputs: Any = None) -> UUID:  # noqa: ANN401  # JSON
        """Start a run of a new workflow with a graph."""
        return await self.start(await self.workflow(await self.project(), raw), inputs)

    async def decide(self, run: UUID, step: str, outcome: str = "approve", workspace: UUID = WORKSPACE) -> None:
        decision = DecideStep(
            target_id=run,
            node=step,
            outcome=outcome,
            data={},
            data_payload=Payload(value={}),
            comment=None,
            user_id="rita",
        )
        await self.does(decision, workspace=workspace)

    async def run(self, run: UUID) -> Run:
        """Return a run folded from the log."""
        state = RUN.initial
        for event in await self.facts(run):
            state = RUN.evolve(state, event.fact)
        return state

    async def list_facts(self, run: UUID) -> list[Fact]:
        return [event.fact for event in await self.facts(run)]

    async def wait_until(self, run: UUID, holds: Callable[[Run], bool], what: str) -> Run:
        """Wait until a run satisfies a condition, and return it."""

        async def is_reached() -> bool:
            return holds(await self.run(run))

        await eventually(is_reached, what=f"the run {what}", seconds=PATIENCE_SECONDS)
        return await self.run(run)

    async def wait_until_ended(self, run: UUID, status: RunStatus = RunStatus.COMPLETED) -> Run:
        ended = await self.wait_until(run, lambda state: state.has_ended, "has ended")
        assert ended.status is status, ended.error
        return ended

    async def wait_for_step(self, run: UUID, step: str, status: StepStatus) -> Run:
        return await self.wait_until(
            run, lambda state: step in state.steps and state.steps[step].status is status, f"has {step} {status}"
        )

    async def wait_for_read_models(self) -> None:
        """Wait until the read models have folded the whole log: takeover reads them, and facts are not repeated."""
        head, _ = await self.log.head()
        runs, timers = RunsView(self.models), TimersView(self.models)

        async def is_caught_up() -> bool:
            return min(await runs.position(), await timers.position()) >= head

        await eventually(is_caught_up, what="the runs and timers are known", seconds=PATIENCE_SECONDS)

    async def wait_until_called(self, prompt: str, times: int = 1) -> None:
        """Wait until the model has been called a number of times with a prompt."""

        async def holds() -> bool:
            return self.fake_model.calls[prompt] >= times

        await eventually(holds, what=f"{prompt} is asked {times} times", seconds=PATIENCE_SECONDS)


def check_history(facts: list[Fact]) -> None:
    """Every attempt is claimed once and has a reason, and every step settles once."""
    starts = Counter((fact.node, fact.attempt) for fact in facts if isinstance(fact, StepStarted))
    assert set(starts.values()) <= {1}, starts
    open_again = {(f.node, f.attempt) for f in facts if isinstance(f, StepFailed) and f.retry_at is not None}
    for name, attempt in starts:
        assert attempt == 1 or (name, attempt - 1) in open_again
    settled = Counter(
        fact.node
        for fact in facts
        if isinstance(fact, StepCompleted | StepSkipped) or (isinstance(fact, StepFailed) and fact.retry_at is None)
    )
    assert set(settled.values()) <= {1}, settled


@asynccontextmanager
async def open_harness(
    database: str, fake_model: FakeModel | None = None, bounds: StoreSettings | None = None
) -> AsyncGenerator[Harness]:
    """Yield a harness on a log, with the read models of runs and timers."""
    await migrate(database, ["store", "engine", "projections"])
    models = ReadModels(database, ProjectionSettings())
    async with open_log(database, bounds) as log, models.open(), open_evaluator() as slow:
        streams = Streams(log, most_cached=1_000)
        feed = Feed(log, FeedSettings(poll_seconds=0.05))
        worker = Worker(
            database,
            feed,
            [RunsProjection(most_remembered=100), TimersProjection()],
            Checkpoints(models),
            ProjectionSettings(standby_seconds=0.05, checkpoint_seconds=0.05),
        )
        async with run_in_background(feed.run()), run_in_background(worker.run()):
            contents = HeldContents(PostgresContents(log.sessions), asyncio.Event())
            contents.open.set()
            yield Harness(
                log=log,
                streams=streams,
                handler=Handler(log, streams, now, PRICES),
                database=database,
                feed=feed,
                models=models,
                fake_model=fake_model or FakeModel(),
                contents=contents,
                slow=slow,
            )
