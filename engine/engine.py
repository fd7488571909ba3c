"""The scenario engine: shares the runs of a log with other engines, and drives every run that falls to it."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime
from random import Random
from typing import Any, Final
from uuid import UUID

import psycopg
import structlog

from bus.feed import Feed
from commands.repository import Streams
from domain.fact import Fact
from domain.runs.facts import RUN_ENDS, RunCancelRequested, RunRetried, RunStarted, StepDecided, StepFailed, StepWaiting
from engine.cluster.leases import Leases
from engine.cluster.membership import Membership, joined
from engine.cluster.owner import Owner
from engine.driving.active_runs import Runs
from engine.driving.intake import Intake, begun, page_after
from engine.driving.takeover import Takeover
from engine.driving.timers import Timers
from engine.executors import Executors
from engine.settings import EngineSettings
from engine.turns.context import Parts
from engine.turns.graph_cache import Graphs
from engine.turns.step_counts import StepTally
from projections.read_models.runs_view import RunsView
from projections.read_models.timers_view import TimersView
from store.contents import ContentStore
from store.errors import Unavailable
from store.failpoint import FailPointHook, noop
from store.log.appender import back_off_seconds
from store.log.log import Log

MOVED_BY_OTHERS: Final = (StepDecided, RunRetried)
"""What people do to a run, and the engine has to act on."""

MAKES_DUE: Final = (StepWaiting, StepFailed)
"""What may make a step due by the clock (see `projections.timers.due_at_of`)."""

HEARD: Final[frozenset[type[Fact]]] = frozenset(
    {RunStarted, RunCancelRequested, *MOVED_BY_OTHERS, *MAKES_DUE, *RUN_ENDS}
)
"""All that an engine acts on."""

HEARD_AGAIN_EVENTS: Final = 10_000
"""A table of timers that is further behind is waited for: its timers are found by the poll."""

STEADY_SECONDS: Final = 10.0
"""A membership that lasted so long was no failure of the ones before."""


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
        contents: ContentStore,
        executors: Executors,
        runs: RunsView,
        timers: TimersView,
        clock: Callable[[], datetime],
        random: Random,
        settings: EngineSettings,
        failpoint: FailPointHook = noop,
    ) -> None:
        """Make an engine; it does nothing until `run`."""
        self._name = name
        self._conninfo = conninfo
        self._log = log
        self._feed = feed
        self._streams = streams
        self._contents = contents
        self._executors = executors
        self._runs = runs
        self._timers = timers
        self._clock = clock
        self._random = random
        self._settings = settings
        self._failpoint = failpoint
        self._graphs = Graphs(log, most_kept=settings.kept_graphs)
        self._membership: Membership | None = None
        self._stuck: dict[UUID, str] = {}
        self._runs_in_hand: Runs | None = None
        self.tally = StepTally()
        self._logger = structlog.get_logger("engine")

    @property
    def stuck(self) -> dict[UUID, str]:
        """Give the runs that this engine had to let go because of a fault, with the fault; health shows them."""
        return self._stuck

    @property
    def active_runs(self) -> int:
        """Give how many runs this engine has in hand."""
        return 0 if self._runs_in_hand is None else self._runs_in_hand.active

    @property
    def waiting_runs(self) -> int:
        """Give how many runs wait for a place in this engine's hand; more may lie in the log."""
        return 0 if self._runs_in_hand is None else self._runs_in_hand.places.waiting

    @property
    def live(self) -> tuple[int, ...]:
        """Give the epochs of the engines that are alive, as this one last saw it; none before it has joined."""
        return () if self._membership is None else self._membership.live

    async def run(self) -> None:
        """Be one of the engines and drive runs until cancelled; when the membership is lost join again."""
        failures = 0
        loop = asyncio.get_running_loop()
        while True:
            joined_at = loop.time()
            try:
                async with joined(self._conninfo, self._name, self._settings.lease_seconds) as membership:
                    joined_at = loop.time()
                    self._membership = membership
                    self._logger.info("engine.joined", engine=self._name, epoch=membership.epoch)
                    await _whole(self._drive_all(membership))
            except* (psycopg.OperationalError, Unavailable) as lost:
                failures = 1 if loop.time() - joined_at > STEADY_SECONDS else failures + 1
                reason = "; ".join(str(one).strip() for one in lost.exceptions)
                self._logger.warning("engine.membership_lost", engine=self._name, reason=reason)
            await asyncio.sleep(back_off_seconds(failures))

    def _parts(self, membership: Membership) -> Parts:
        return Parts(
            log=self._log,
            streams=self._streams,
            contents=self._contents,
            executors=self._executors,
            owner=Owner(self._name, membership.epoch),
            clock=self._clock,
            random=self._random,
            held_back_off_seconds=self._settings.held_back_off_seconds,
            child_rest_seconds=self._settings.child_rest_seconds,
            lost_attempts_in_a_row=self._settings.lost_attempts_in_a_row,
            run_data_bytes=self._settings.run_data_bytes,
            failpoint=self._failpoint,
            tally=self.tally,
        )

    async def _drive_all(self, membership: Membership) -> None:
        parts = self._parts(membership)
        settings = self._settings
        leases = Leases(self._log.sessions, membership.epoch, settings.lease_delay_seconds)
        try:
            async with asyncio.TaskGroup() as group:
                runs = Runs(
                    parts,
                    self._graphs,
                    group,
                    settings.active_runs,
                    most_ending=settings.ending_runs,
                    membership=membership,
                    leases=leases,
                )
                self._stuck = runs.stuck
                self._runs_in_hand = runs
                timers = Timers(self._timers, runs, self._clock, self._settings, self._failpoint)
                takeover = Takeover(membership, leases, runs, settings, self._random, on_gone=timers.look_now)
                position = await self._runs.position()
                group.create_task(timers.run())
                group.create_task(takeover.keep_alive())
                group.create_task(leases.run(runs.lost))
                group.create_task(takeover.run())
                intake = Intake(self._feed, runs, position)
                group.create_task(intake.run())
                group.create_task(self._follow(runs, intake, timers, await self._first_heard(position)))
        finally:
            self._runs_in_hand = None
            self._logger.info("engine.let_go", engine=self._name, epoch=membership.epoch)

    async def _first_heard(self, position: int) -> int:
        """Give from where on to follow: what is not in the table of timers yet has to be heard, within bounds."""
        return max(min(position, await self._timers.position()), position - HEARD_AGAIN_EVENTS)

    async def _follow(self, runs: Runs, intake: Intake, timers: Timers, position: int) -> None:
        """Follow the log from where the read models stood: what began before is in those, or in a hand."""
        while True:
            page = await page_after(self._feed, position)
            position = page.through
            # By type at first: most facts are nothing to act on, and to ask each what it is took 14 µs a run, not 1.5.
            heard = [one for one in page.events if type(one.fact) in HEARD]
            intake.hear(begun(heard), page.through)
            for one in heard:
                fact = one.fact
                if isinstance(fact, RUN_ENDS):
                    if fact.parent is not None:
                        runs.child_ended(one.stream_id, one.workspace_id, fact.parent)
                elif isinstance(fact, RunCancelRequested):
                    runs.end(one.stream_id, one.workspace_id, one.version)
                elif isinstance(fact, MOVED_BY_OTHERS):
                    runs.wake(one.stream_id, one.workspace_id, one.version)
                elif isinstance(fact, MAKES_DUE):
                    timers.hear(one)


async def _whole(work: Coroutine[Any, Any, None]) -> None:
    """Do something in a task of its own: a part of it that fails while all is cancelled must not hide the cancellation.

    (A TaskGroup of Python 3.11 then raises the failure alone, and who cancelled would wait for ever.)
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
