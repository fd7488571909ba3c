"""Timers: one loop that sleeps until a step is due by the clock, and wakes its run.

It settles nothing itself: the driver of a run finds what is overdue in what is recorded. So a timer that fires twice,
or on two engines, costs a read and takes effect once.
"""

import asyncio
import heapq
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

from msgspec.structs import replace

from domain.fact import Fact
from domain.runs.facts import StepFailed
from engine.failpoints import FailPoint
from engine.settings import EngineSettings
from projections.read_models.timers import read_due_at
from projections.read_models.timers_view import BEGINNING, TimersView
from store.errors import Unavailable
from store.failpoint import FailPointHook, noop
from store.log.records import Recorded
from store.outage_log import OutageLog
from store.retrying import Retrying

SHORTEST_SLEEP_SECONDS: Final = 0.001
CROWDED_POLL_SECONDS: Final = 1.0
"""Interval for polling timers again whose workspaces had no room."""


class RunWaker(Protocol):
    """Port by which timers wake runs, implemented by `engine.driving.active_runs.ActiveRuns`."""

    def wake_due(self, run_id: UUID, workspace_id: UUID) -> bool:
        """Wake a run in which a step may be due; return False when its workspace has no room for it now."""
        ...


class Timers:
    """The timers of one membership. Those due before the next poll are kept in memory, the rest in their table.

    The table is read once a poll, when its next timer is due, and when an engine has gone: two statements and one row,
    however many are pending. Timers that the engine observes in the log meanwhile need no read, so it does not matter
    how far the read model lags.
    """

    def __init__(
        self,
        view: TimersView,
        runs: RunWaker,
        clock: Callable[[], datetime],
        settings: EngineSettings,
        failpoint: FailPointHook = noop,
    ) -> None:
        """Create timers that do nothing until `run`."""
        self._view = view
        self._runs = runs
        self._clock = clock
        self._settings = settings
        self._failpoint = failpoint
        self._observed: list[tuple[datetime, UUID, UUID]] = []  # a heap, by time
        self._read_at = self._poll_at = clock()
        self._fired_until = BEGINNING.due_at
        self._earlier = asyncio.Event()

    def observe(self, recorded: Recorded) -> None:
        """Keep a timer in memory that is due before the next poll is sure to find its row."""
        due_at = read_due_at(recorded.fact)
        if due_at is None or due_at > self._compute_horizon() or self._is_held(recorded.fact):
            return
        if len(self._observed) < self._settings.timers_in_memory:
            heapq.heappush(self._observed, (due_at, recorded.stream_id, recorded.workspace_id))
        else:
            self._read_at = min(self._read_at, due_at)
        self._earlier.set()

    def _compute_horizon(self) -> datetime:
        return self._clock() + timedelta(seconds=2 * self._settings.timer_poll_seconds)

    def poll_now(self) -> None:
        """Poll at once: an engine has gone, and a step may have come due in a run that it drove."""
        self._poll_at = self._read_at = self._clock()
        self._earlier.set()

    def _is_held(self, fact: Fact) -> bool:
        """Return whether the driver of the run waits for the retry itself."""
        if not isinstance(fact, StepFailed) or fact.retry_at is None:
            return False
        return (fact.retry_at - fact.failed_at).total_seconds() <= self._settings.held_back_off_seconds

    async def run(self) -> None:
        """Wake runs when their steps are due, until cancelled."""
        outages = OutageLog("engine", lost="timers.delayed", back="timers.resumed")
        while True:
            await Retrying(Unavailable, outages=outages).call(self._fire)
            await self._sleep()

    async def _fire(self) -> None:
        self._fire_observed()
        await self._fire_due()

    def _fire_observed(self) -> None:
        while self._observed and self._observed[0][0] <= self._clock():
            _, run_id, workspace_id = heapq.heappop(self._observed)
            if not self._wake(run_id, workspace_id):
                self._poll_soon()

    async def _fire_due(self) -> None:
        now = self._clock()
        if now < self._read_at:
            return
        if now >= self._poll_at:
            # From the beginning: a row may be written late, since the read model lags the log.
            self._fired_until = BEGINNING.due_at
            self._poll_at = now + timedelta(seconds=self._settings.timer_poll_seconds)
        after = replace(BEGINNING, due_at=self._fired_until)
        crowded: set[UUID] = set()
        while page := await self._view.due(now, self._settings.timer_page, after, list(crowded)):
            for run_id, workspace_id in dict.fromkeys((timer.run_id, timer.workspace_id) for timer in page):
                if not self._wake(run_id, workspace_id):
                    crowded.add(workspace_id)
            after = page[-1]
        self._fired_until = now
        upcoming = await self._view.next_after(now)
        self._read_at = self._poll_at if upcoming is None else min(self._poll_at, upcoming)
        if crowded:
            self._poll_soon()

    def _wake(self, run_id: UUID, workspace_id: UUID) -> bool:
        self._failpoint(FailPoint.TIMER_DUE)
        return self._runs.wake_due(run_id, workspace_id)

    def _poll_soon(self) -> None:
        """Poll again once some runs of a crowded workspace may have ended."""
        self._poll_at = min(self._poll_at, self._clock() + timedelta(seconds=CROWDED_POLL_SECONDS))
        self._read_at = min(self._read_at, self._poll_at)

    async def _sleep(self) -> None:
        self._earlier.clear()
        wake_at = min(self._read_at, self._observed[0][0]) if self._observed else self._read_at
        seconds = max(SHORTEST_SLEEP_SECONDS, (wake_at - self._clock()).total_seconds())
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._earlier.wait()
