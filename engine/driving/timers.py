"""Timers: one loop that sleeps until a step is due by the clock, and has the runs looked at whose time has come.

It settles nothing itself: the driver of a run finds what is overdue in what is recorded. So a timer that is taken
twice, or by two engines, costs a look, and takes effect once.
"""

import asyncio
import heapq
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

import structlog
from msgspec.structs import replace

from domain.fact import Fact
from domain.runs.facts import StepFailed
from engine.failpoints import FailPoint
from engine.settings import EngineSettings
from projections.read_models.timers import due_at_of
from projections.read_models.timers_view import BEGINNING, TimersView
from store.errors import Unavailable
from store.failpoint import FailPointHook, noop
from store.log.appender import back_off_seconds
from store.log.records import Recorded

SHORTEST_SLEEP_SECONDS: Final = 0.001
CROWDED_POLL_SECONDS: Final = 1.0
"""What is due and found no room is looked for again so soon."""


class Wakes(Protocol):
    """Whom the timers tell: `engine.driving.active_runs.Runs`."""

    def look_again(self, run_id: UUID, workspace_id: UUID) -> bool:
        """Take a run in which the time of a step may have come; false when its workspace has no room for it now."""
        ...


class Timers:
    """The timers of one ownership. What is due before the next poll is kept in memory, and the rest in its table.

    The table is read once a poll, when its next timer is due, and when an engine has gone: two statements and one row,
    however many are pending.
    What the engine hears of in the meantime needs no read, so that it does not matter how far the read model has come.
    """

    def __init__(
        self,
        view: TimersView,
        runs: Wakes,
        clock: Callable[[], datetime],
        settings: EngineSettings,
        failpoint: FailPointHook = noop,
    ) -> None:
        """Make it; it does nothing until `run`."""
        self._view = view
        self._runs = runs
        self._clock = clock
        self._settings = settings
        self._failpoint = failpoint
        self._heard: list[tuple[datetime, UUID, UUID]] = []  # a heap, by time
        self._read_at = self._poll_at = clock()
        self._taken_until = BEGINNING.due_at
        self._nearer = asyncio.Event()

    def hear(self, recorded: Recorded) -> None:
        """Take note of a fact that makes a step due soon: before a poll that is sure to find its row."""
        due_at = due_at_of(recorded.fact)
        if due_at is None or due_at > self._soon() or self._is_held(recorded.fact):
            return
        if len(self._heard) < self._settings.timers_in_memory:
            heapq.heappush(self._heard, (due_at, recorded.stream_id, recorded.workspace_id))
        else:
            self._read_at = min(self._read_at, due_at)
        self._nearer.set()

    def _soon(self) -> datetime:
        return self._clock() + timedelta(seconds=2 * self._settings.timer_poll_seconds)

    def look_now(self) -> None:
        """Look at all that is due, as at a poll: an engine has gone, and a step may have come due in its hand."""
        self._poll_at = self._read_at = self._clock()
        self._nearer.set()

    def _is_held(self, fact: Fact) -> bool:
        """Tell whether the driver of the run waits itself."""
        if not isinstance(fact, StepFailed) or fact.retry_at is None:
            return False
        return (fact.retry_at - fact.failed_at).total_seconds() <= self._settings.held_back_off_seconds

    async def run(self) -> None:
        """Have runs looked at when their time has come, until cancelled."""
        failures = 0
        while True:
            try:
                self._take_heard()
                await self._take_due()
                failures = 0
            except Unavailable as away:
                failures += 1
                structlog.get_logger("engine").warning("timers.delayed", reason=str(away))
                await asyncio.sleep(back_off_seconds(failures))
                continue
            await self._sleep()

    def _take_heard(self) -> None:
        while self._heard and self._heard[0][0] <= self._clock():
            _, run_id, workspace_id = heapq.heappop(self._heard)
            if not self._wake(run_id, workspace_id):
                self._look_soon()

    async def _take_due(self) -> None:
        now = self._clock()
        if now < self._read_at:
            return
        if now >= self._poll_at:
            # From the beginning: a row may have come late, since the read model follows the log.
            self._taken_until = BEGINNING.due_at
            self._poll_at = now + timedelta(seconds=self._settings.timer_poll_seconds)
        after = replace(BEGINNING, due_at=self._taken_until)
        crowded: set[UUID] = set()
        while page := await self._view.due(now, self._settings.timer_page, after, list(crowded)):
            for run_id, workspace_id in dict.fromkeys((timer.run_id, timer.workspace_id) for timer in page):
                if not self._wake(run_id, workspace_id):
                    crowded.add(workspace_id)
            after = page[-1]
        self._taken_until = now
        upcoming = await self._view.next_after(now)
        self._read_at = self._poll_at if upcoming is None else min(self._poll_at, upcoming)
        if crowded:
            self._look_soon()

    def _wake(self, run_id: UUID, workspace_id: UUID) -> bool:
        self._failpoint(FailPoint.TIMER_DUE)
        return self._runs.look_again(run_id, workspace_id)

    def _look_soon(self) -> None:
        """Look again at all that is due once some of what a workspace has in hand may be done."""
        self._poll_at = min(self._poll_at, self._clock() + timedelta(seconds=CROWDED_POLL_SECONDS))
        self._read_at = min(self._read_at, self._poll_at)

    async def _sleep(self) -> None:
        self._nearer.clear()
        wake_at = min(self._read_at, self._heard[0][0]) if self._heard else self._read_at
        seconds = max(SHORTEST_SLEEP_SECONDS, (wake_at - self._clock()).total_seconds())
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._nearer.wait()
