"""Run a schedule of poison, retries, skips and crashes on the real worker and a real PostgreSQL."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, Final
from uuid import UUID

from msgspec import structs
from psycopg import AsyncConnection

from domain.project import Project, ProjectCreated, ProjectFact, ProjectRenamed, evolve
from projections.parked.queries import ParkedRow, parked_rows, skipped_rows
from projections.parked.retry import NotParked, Retried, Retry
from projections.parked.skip import Skip, skip
from projections.read_models.projects import ProjectsProjection
from projections.runtime.checkpoints import Checkpoints
from projections.runtime.follower import Follower
from projections.runtime.projection import Cursor
from projections.runtime.read_pool import ReadModels
from projections.runtime.skips import Skipped
from projections.settings import ProjectionSettings
from store.log.codec import encode_fact, encode_metadata
from store.log.json_encoding import weigh_json
from store.log.records import Page, Recorded, Unreadable
from store.postgres.connections import open_connection
from tests.support.projections.given import NOW, new_id
from tests.support.projections.schedules import (
    STREAMS,
    WORKSPACES,
    AppendFact,
    FoldFacts,
    RetryWorkspace,
    SetPoison,
    SkipParked,
    Step,
)
from tests.support.store.given import METADATA

CLEAR: Final = """
with a as (delete from events), b as (delete from parked), c as (delete from skipped),
     d as (delete from parking_history), e as (delete from checkpoints), f as (delete from projects),
     g as (update log_head set position = 0)
delete from counts
"""
COUNTS: Final = "create table counts (workspace_id uuid primary key, facts bigint not null)"
COUNT: Final = """
insert into counts (workspace_id, facts) values (%b, %b::bigint)
on conflict (workspace_id) do update set facts = counts.facts + excluded.facts
"""
STORE: Final = """
with head as (update log_head set position = position + 1)
insert into events (notification_id, originator_version, recorded_at, originator_id, workspace_id, project_id,
                    state_format, topic, metadata, state)
values (%b, %b, now(), %b, %b, %b, 1, 'project.renamed', %b::json, %b)
"""
PAGES: Final = ProjectionSettings(batch_events=2)
BOUNDS: Final = ProjectionSettings(
    batch_events=7, gather_seconds_min=0, gather_seconds_max=0, checkpoint_seconds=1_000, standby_seconds=0.005
)


class Crash(BaseException):
    """Ends a worker or a retry as a kill does: nothing of ours runs after it."""


class Ledger(ProjectsProjection):
    """Folds projects, and counts their facts by workspace, which is not idempotent: a fact folded twice shows."""

    name = "projects"

    def __init__(self, simulator: "Simulator") -> None:
        """Fold as the code of this moment does."""
        super().__init__(most_remembered=2)
        self._simulator = simulator
        self._poison = simulator.poison
        self.crash = False

    async def apply(self, cursor: Cursor, facts: Sequence[Recorded]) -> None:
        if self._poison and any(getattr(event.fact, "name", "") == "poison" for event in facts):
            raise ValueError("poison")
        await super().apply(cursor, facts)
        for event in facts:
            if not isinstance(event.fact, Skipped):
                await cursor.execute(COUNT, (event.workspace_id, 1))
        if self.crash:
            raise Crash


class ScheduledFeed:
    """Delivers as much of the log as the schedule grants, and knows when the worker waits for more."""

    def __init__(self, log: list[Recorded]) -> None:
        """Create a feed over a list of events."""
        self._log = log
        self._granted = 0
        self._more = asyncio.Event()
        self.waiting = asyncio.Event()

    @property
    def through(self) -> int:
        return len(self._log)

    async def check_connection(self, connection: object) -> None:  # the name of the protocol
        """Accept every connection: the log of a simulation is not rewound."""

    def grant(self, events: int) -> None:
        self._granted = events
        self.waiting.clear()
        self._more.set()

    async def read(self, after: int, limit: int) -> Page:
        while not self._granted or after >= len(self._log):
            self._granted = 0
            self.waiting.set()
            self._more.clear()
            await self._more.wait()
        events = tuple(self._log[after : after + min(self._granted, limit)])
        self._granted -= len(events)
        return Page(events=events, through=events[-1].position)


class Simulator:
    """Runs one schedule; the law is checked after each step."""

    def __init__(self, conninfo: str, models: ReadModels, connection: AsyncConnection[Any]) -> None:
        """Begin with an empty log and empty tables."""
        self._conninfo = conninfo
        self._models = models
        self._connection = connection
        self._log: list[Recorded] = []
        self._versions: dict[tuple[int, int], int] = {}
        self._streams = {(w, s): new_id() for w in range(len(WORKSPACES)) for s in range(STREAMS)}
        self._checkpoint = 0
        self._feed = ScheduledFeed(self._log)
        self._crash: str | None = None
        self._worker: asyncio.Task[None] | None = None
        self.poison = True
        self._bounds = BOUNDS

    def create_fresh(self) -> "Simulator":
        """Return a simulator with an empty log on the same connections."""
        return Simulator(self._conninfo, self._models, self._connection)

    async def run(self, schedule: Sequence[Step]) -> None:
        """Run the schedule, then repair everything; at the end only skipped facts are left out."""
        await self._connection.execute(CLEAR)
        try:
            for step in schedule:
                await self._run_step(step)
                await self._check()
            await self._repair()
        finally:
            await self._stop()

    async def _run_step(self, step: Step) -> None:
        match step:
            case AppendFact():
                await self._append(step)
            case FoldFacts():
                await self._fold_next(step.events, step.crash)
            case SetPoison():
                self.poison = step.poison
            case RetryWorkspace():
                await self._retry(WORKSPACES[step.workspace], step.interrupted)
            case SkipParked():
                await self._skip(WORKSPACES[step.workspace], rest=step.rest)

    async def _append(self, step: AppendFact) -> None:
        key = step.workspace, step.stream
        version = self._versions[key] = self._versions.get(key, 0) + 1
        named: ProjectFact = (
            ProjectRenamed(name=step.name) if version > 1 else ProjectCreated(name=step.name, owner="a")
        )
        unreadable = step.name == "unreadable"
        state = b"not JSON" if unreadable else encode_fact(named)
        event = Recorded(
            position=len(self._log) + 1,
            stream_id=self._streams[key],
            version=version,
            workspace_id=WORKSPACES[step.workspace],
            project_id=self._streams[key],
            fact=Unreadable(topic="project.renamed", reason="malformed", state=state) if unreadable else named,
            metadata=METADATA,
            recorded_at=NOW,
            weight=weigh_json(state),
        )
        metadata = encode_metadata(METADATA).decode()
        await self._connection.execute(
            STORE, (event.position, version, event.stream_id, event.workspace_id, event.project_id, metadata, state)
        )
        self._log.append(event)

    async def _fold_next(self, events: int, crash: str | None = None) -> None:
        worker = self._worker or asyncio.create_task(self._create_follower().run())
        self._worker, self._crash = worker, crash
        waiting = asyncio.create_task(self._feed.waiting.wait())
        await asyncio.wait({worker, waiting}, return_when=asyncio.FIRST_COMPLETED)
        self._feed.grant(events)
        await asyncio.sleep(0)
        again = asyncio.create_task(self._feed.waiting.wait())
        await asyncio.wait({worker, again}, return_when=asyncio.FIRST_COMPLETED)
        self._crash = None
        for task in (waiting, again):
            task.cancel()
        if worker.done():
            self._worker = None
            assert isinstance(worker.exception(), Crash), worker.exception()

    def _create_follower(self) -> Follower:
        self._feed = ScheduledFeed(self._log)
        checkpoints = Checkpoints(self._models)
        return Follower(self._conninfo, self._feed, Ledger(self), checkpoints, self._bounds, self._crash_at_point)

    def _crash_at_point(self, point: str) -> None:
        if point == self._crash:
            raise Crash

    async def _stop(self) -> None:
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.wait({self._worker})
            self._worker = None

    async def _retry(self, workspace: UUID, interrupted: str | None = None) -> Retried | None:
        ledger = Ledger(self)
        ledger.crash = interrupted == "rows"

        def crash_before_page(_position: int, _checkpoint: int) -> None:
            if interrupted == "page":
                raise Crash

        async with AsyncExitStack() as stack:
            connection = await stack.enter_async_context(open_connection(self._conninfo))
            try:
                return await Retry(connection, ledger, workspace, PAGES, crash_before_page, stretch_positions=3).run(
                    "ada"
                )
            except (NotParked, Crash):
                return None

    async def _skip(self, workspace: UUID, *, rest: bool) -> None:
        for row in await self._read_parked(workspace):
            said = Skip(
                projection=row.projection,
                workspace_id=workspace,
                position=row.from_position,
                rest_of_stream=rest,
                by="ada",
                why="hypothesis",
            )
            await skip(self._connection, said)

    async def _repair(self) -> None:
        """Fix the code, restart the worker, deliver the whole log, and skip what still cannot be folded."""
        self.poison = False
        await self._stop()
        # A tail of what is parked moves no row at once; here the checkpoint's row has to follow.
        self._bounds = structs.replace(BOUNDS, checkpoint_seconds=0.01)
        for _ in range(2):  # the second time what the retries let in is noticed
            while self._checkpoint < len(self._log):
                await self._fold_next(len(self._log))
                await self._check()
            for workspace in WORKSPACES:
                while await self._read_parked(workspace) and ((found := await self._retry(workspace)) and found.error):
                    await self._check()
                    await self._skip(workspace, rest=False)
            await self._check()
        assert await self._read_parked() == []

    async def _read_parked(self, workspace: UUID | None = None) -> list[ParkedRow]:
        return await parked_rows(self._connection, "projects", workspace)

    async def _check(self) -> None:
        """The law: a read model is the fold of the log up to the checkpoint, less what is parked or skipped."""
        rows = await self._read_rows("select position from checkpoints where projection = 'projects'")
        checkpoint = rows[0][0] if rows else 0
        assert self._checkpoint <= checkpoint <= len(self._log), "it never goes back, and never past the head"
        self._checkpoint = checkpoint
        until = {row.workspace_id: row.from_position - 1 for row in await self._read_parked()}
        skipped = await skipped_rows(self._connection)
        positions = {skip_row.position for skip_row in skipped}
        ends = {skip_row.stream_id: skip_row.version for skip_row in reversed(skipped) if skip_row.rest_of_stream}
        facts = [
            event
            for event in self._log
            if event.position <= until.get(event.workspace_id, checkpoint)
            and (event.stream_id not in ends or event.version < ends[event.stream_id])
        ]
        assert await self._read_rows("select id, version, name from projects order by id") == fold_projects(
            facts, positions
        )
        counted = await self._read_rows("select workspace_id, facts from counts order by workspace_id")
        assert counted == count_facts(facts, positions)

    async def _read_rows(self, query: str) -> list[tuple[Any, ...]]:
        cursor = await self._connection.execute(query.encode())
        return await cursor.fetchall()


def fold_projects(facts: Sequence[Recorded], skipped: set[int]) -> list[tuple[UUID, int, str]]:
    states: dict[UUID, tuple[int, Project]] = {}
    for event in facts:
        _, state = states.get(event.stream_id, (0, Project()))
        if event.position not in skipped:
            assert isinstance(event.fact, ProjectCreated | ProjectRenamed), "what cannot be read is parked or skipped"
            state = evolve(state, event.fact)
        states[event.stream_id] = event.version, state
    return sorted((stream, version, state.name) for stream, (version, state) in states.items())


def count_facts(facts: Sequence[Recorded], skipped: set[int]) -> list[tuple[UUID, int]]:
    counts: dict[UUID, int] = {}
    for event in facts:
        if event.position not in skipped:
            counts[event.workspace_id] = counts.get(event.workspace_id, 0) + 1
    return sorted(counts.items())
