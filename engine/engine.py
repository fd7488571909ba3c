"""The scenario engine: shares the runs of a log with other engines, and drives every run that it owns."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime
from random import Random
from typing import Any, Final
from uuid import UUID

import structlog

from bus.feed import Feed
from commands.repository import Streams
from domain.fact import Fact
from domain.runs.facts import (
    RUN_ENDS,
    RunCancelled,
    RunCancelRequested,
    RunFailed,
    RunRetried,
    RunSignalled,
    RunStarted,
    StepDecided,
    StepFailed,
    StepWaiting,
)
from engine.children.families import Families
from engine.cluster.leases import Leases
from engine.cluster.membership import Membership, join_engines
from engine.cluster.owner import Owner
from engine.driving.active_runs import ActiveRuns
from engine.driving.intake import Intake, list_started, read_page
from engine.driving.takeover import Takeover
from engine.driving.timers import Timers
from engine.executors import Executors
from engine.settings import EngineSettings
from engine.turns.context import EngineContext
from engine.turns.graph_cache import GRAPH_BYTES, GraphCache
from engine.turns.step_counts import StepCounts
from projections.read_models.runs_view import RunsView
from projections.read_models.timers_view import TimersView
from store.errors import Unavailable
from store.failpoint import FailPointHook, noop
from store.log.log import Log
from store.outage_log import OutageLog
from store.retrying import BackOff, join_reasons

MOVED_BY_PEOPLE: Final = (StepDecided, RunRetried, RunSignalled)
"""What people do to a run that the engine has to act on."""

MAKES_DUE: Final = (StepWaiting, StepFailed)
"""Facts that may make a step due by the clock (see `projections.read_models.timers.read_due_at`)."""

OBSERVED: Final[frozenset[type[Fact]]] = frozenset(
    {RunStarted, RunCancelRequested, *MOVED_BY_PEOPLE, *MAKES_DUE, *RUN_ENDS}
)
"""All facts on which an engine acts."""

OBSERVED_AGAIN_EVENTS: Final = 10_000
"""How far behind the runs the timers' read model may be for its missing timers to be read from the log at start."""

STEADY_SECONDS: Final = 10.0
"""A membership that lasted at least this long resets the back-off."""


class Engine:
    """One engine process. `run` must be running, supervised."""

    def __init__(  # noqa: PLR0913  # what an engine is made of, by name
        self,
        *,
        name: str,
        conninfo: str,
        log: Log,
        feed: Feed,
        streams: Streams,
        executors: Executors,
        runs: RunsView,
        timers: TimersView,
        clock: Callable[[], datetime],
        random: Random,
        settings: EngineSettings,
        families: Families,
        graph_bytes: int = GRAPH_BYTES,
        failpoint: FailPointHook = noop,
    ) -> None:
        """Create an engine that does nothing until `run`."""
        self._name = name
        self._conninfo = conninfo
        self._log = log
        self._feed = feed
        self._streams = streams
        self._executors = executors
        self._runs = runs
        self._timers = timers
        self._clock = clock
        self._random = random
        self._settings = settings
        self._failpoint = failpoint
        self._graphs = GraphCache(log, max_entries=settings.kept_graphs, max_bytes=graph_bytes)
        self._families = families
        self._membership: Membership | None = None
        self._stuck: dict[UUID, str] = {}
        self._active_runs: ActiveRuns | None = None
        self.step_counts = StepCounts()
        self._logger = structlog.get_logger("engine")
        self._outages = OutageLog("engine", lost="engine.membership_lost", back="engine.joined_again", engine=name)

    @property
    def stuck_runs(self) -> dict[UUID, str]:
        """Return the runs that this engine stopped driving because of a fault, with the fault; health lists them."""
        return self._stuck

    @property
    def active_runs(self) -> int:
        """Return how many runs this engine drives."""
        return 0 if self._active_runs is None else self._active_runs.count

    @property
    def waiting_runs(self) -> int:
        """Return how many runs this engine has queued; more may be left in the log."""
        return 0 if self._active_runs is None else self._active_runs.queue.queued_count

    @property
    def live_epochs(self) -> tuple[int, ...]:
        """Return the epochs of the live engines as this one last saw them; empty before it has joined."""
        return () if self._membership is None else self._membership.live_epochs

    async def run(self) -> None:
        """Join the engines and drive runs until cancelled; join again whenever the membership is lost."""
        back_off = BackOff()
        loop = asyncio.get_running_loop()
        while True:
            joined_at = loop.time()
            try:
                async with join_engines(
                    self._conninfo, self._name, self._settings.lease_seconds, self._log.monitor.connections
                ) as membership:
                    joined_at = loop.time()
                    self._membership = membership
                    self._logger.info("engine.joined", engine=self._name, epoch=membership.epoch)
                    self._outages.note_success(epoch=membership.epoch)
                    await _run_to_end(self._drive_runs(membership))
            except* Unavailable as lost:
                if loop.time() - joined_at > STEADY_SECONDS:
                    back_off.reset()
                back_off.failures += 1
                self._membership = None
                self._outages.note_failure(join_reasons(lost))
            await back_off.wait()

    def _create_context(self, membership: Membership) -> EngineContext:
        return EngineContext(
            log=self._log,
            streams=self._streams,
            contents=self._executors.contents,
            executors=self._executors,
            graphs=self._graphs,
            families=self._families,
            owner=Owner(self._name, membership.epoch),
            clock=self._clock,
            random=self._random,
            held_back_off_seconds=self._settings.held_back_off_seconds,
            child_rest_seconds=self._settings.child_rest_seconds,
            lost_attempts_in_a_row=self._settings.lost_attempts_in_a_row,
            run_data_bytes=self._settings.run_data_bytes,
            public_url=self._settings.public_url,
            failpoint=self._failpoint,
            step_counts=self.step_counts,
        )

    async def _drive_runs(self, membership: Membership) -> None:
        settings = self._settings
        leases = Leases(self._log.sessions, membership.epoch, settings.lease_delay_seconds)
        try:
            async with asyncio.TaskGroup() as group:
                active_runs = ActiveRuns(
                    self._create_context(membership),
                    group,
                    slots=settings.active_runs,
                    cancelled_slots=settings.ending_runs,
                    membership=membership,
                    leases=leases,
                )
                self._stuck = active_runs.stuck
                self._active_runs = active_runs
                timers = Timers(self._timers, active_runs, self._clock, settings, self._failpoint)
                takeover = Takeover(
                    membership,
                    leases,
                    active_runs,
                    self._runs,
                    settings,
                    self._random,
                    on_gone=timers.poll_now,
                    families=self._families,
                )
                position = await self._runs.position()
                group.create_task(timers.run())
                group.create_task(takeover.send_heartbeats())
                group.create_task(leases.run(active_runs.reload))
                group.create_task(takeover.run())
                intake = Intake(self._feed, active_runs, position)
                group.create_task(intake.run())
                first = await self._find_first_observed(position)
                group.create_task(self._follow(active_runs, intake, timers, first))
        finally:
            self._active_runs = None
            self._logger.info("engine.let_go", engine=self._name, epoch=membership.epoch)

    async def _find_first_observed(self, position: int) -> int:
        """Return where to start following, so as to observe timers that are not in their table yet, within bounds."""
        return max(min(position, await self._timers.position()), position - OBSERVED_AGAIN_EVENTS)

    async def _follow(self, active_runs: ActiveRuns, intake: Intake, timers: Timers, position: int) -> None:
        """Follow the log from the checkpoint of the read models, which show all earlier runs."""
        while True:
            page = await read_page(self._feed, position)
            position = page.through
            # By type first: an engine ignores most facts, and testing each by isinstance took 14 µs a run, not 1.5.
            observed = [event for event in page.events if type(event.fact) in OBSERVED]
            intake.observe(list_started(observed), page.through)
            for event in observed:
                fact = event.fact
                if isinstance(fact, RUN_ENDS):
                    if isinstance(fact, RunFailed | RunCancelled):
                        active_runs.stop_family(event.stream_id)
                    if fact.parent is not None:
                        active_runs.notify_child_ended(event.stream_id, event.workspace_id, fact.parent)
                elif isinstance(fact, RunCancelRequested):
                    active_runs.stop_family(event.stream_id)
                    active_runs.resume_cancelled(event.stream_id, event.workspace_id, event.version)
                elif isinstance(fact, MOVED_BY_PEOPLE):
                    if isinstance(fact, RunRetried):
                        self._families.note_retried(event.stream_id)
                    active_runs.wake(event.stream_id, event.workspace_id, event.version)
                elif isinstance(fact, MAKES_DUE):
                    timers.observe(event)


async def _run_to_end(work: Coroutine[Any, Any, None]) -> None:
    """Run work in a task of its own, so that a part of it that fails during cancellation cannot hide the cancellation.

    (A TaskGroup of Python 3.11 then raises the failure alone, and the canceller would wait forever.)
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()
        raise
    await task
