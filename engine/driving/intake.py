"""Intake: new runs as the engine follows the log. Runs that exceed a workspace's queue stay in the log for later.

The log is followed even when the engine is full; otherwise it would not notice the cancellations of the runs that fill
it. A workspace whose runs are left in the log does not hold up the runs of another.
"""

import asyncio
from collections.abc import Iterable
from typing import Final
from uuid import UUID

from bus.feed import Feed
from domain.runs.facts import RUN_ENDS, RunStarted
from engine.driving.active_runs import ActiveRuns
from store.errors import Unavailable
from store.log.records import Page, Recorded
from store.outage_log import OutageLog
from store.retrying import Retrying

PAGE_EVENTS: Final = 2_000
GATHER_SECONDS: Final = 0.01
"""Delay after a slot is freed before the log is read, so that more slots are free by then."""


class Intake:
    """The new runs of one membership, in the order in which those of a workspace started. `run` must be running.

    Once a workspace has no room, its new runs are no longer taken as they are observed, but read from the log after
    the position up to which they were taken.
    """

    def __init__(self, feed: Feed, active_runs: ActiveRuns, position: int) -> None:
        """Accept runs that start after a position."""
        self._feed = feed
        self._active_runs = active_runs
        self._queue = active_runs.queue
        self._first_after = position
        self._observed_through = position
        self._taken_through: dict[UUID, int] = {}  # of the workspaces that are behind
        self._is_behind = asyncio.Event()

    def observe(self, started: Iterable[Recorded], through: int) -> None:
        """Accept the runs that started on a page of the log, as far as their workspaces have room."""
        for fact in started:
            if fact.position <= self._first_after or fact.workspace_id in self._taken_through:
                continue
            if self._queue.has_room(fact.workspace_id):
                self._active_runs.start(fact)
            else:
                self._taken_through[fact.workspace_id] = fact.position - 1
                self._is_behind.set()
        self._observed_through = through

    async def run(self) -> None:
        """Catch up whenever runs had to be left in the log, until cancelled."""
        while True:
            await self._is_behind.wait()
            self._active_runs.slot_freed.clear()
            roomy = [each for each in self._taken_through if self._queue.has_room_to_spare(each)]
            if roomy:
                await self._catch_up(min(self._taken_through[each] for each in roomy))
            else:
                await self._active_runs.slot_freed.wait()
                await asyncio.sleep(GATHER_SECONDS)

    async def _catch_up(self, after: int) -> None:
        """Read one page of the log for all workspaces whose runs have been taken up to its beginning or further."""
        page = await read_page(self._feed, after)
        full = self._take(page, after)
        for workspace_id, through in list(self._taken_through.items()):
            if through < after or workspace_id in full:
                continue
            if page.through >= self._observed_through:  # `observe` takes what comes next
                del self._taken_through[workspace_id]
            else:
                self._taken_through[workspace_id] = max(through, page.through)
        if not self._taken_through:
            self._is_behind.clear()

    def _take(self, page: Page, after: int) -> set[UUID]:
        """Accept the runs that started on a page; return the workspaces that ran out of room."""
        full: set[UUID] = set()
        for fact in list_started(page.events):
            workspace_id = fact.workspace_id
            through = self._taken_through.get(workspace_id)
            if through is None or through < after or workspace_id in full:
                continue
            if not through < fact.position <= self._observed_through:
                continue
            if self._queue.has_room(workspace_id):
                self._active_runs.start(fact)
            else:
                full.add(workspace_id)
                self._taken_through[workspace_id] = fact.position - 1
        return full


async def read_page(feed: Feed, position: int) -> Page:
    """Return the page after a position, retrying while the log is unavailable; active runs continue meanwhile."""
    outages = OutageLog("engine", lost="engine.log_not_read", back="engine.log_read_again")
    return await Retrying(Unavailable, outages=outages).call(lambda: feed.read(position, PAGE_EVENTS))


def list_started(events: Iterable[Recorded]) -> list[Recorded]:
    """Return the starts of runs, less those that ended on the same page, such as children that ran inline."""
    started: list[Recorded] = []
    ended: set[UUID] = set()
    for event in events:
        if isinstance(event.fact, RunStarted):
            started.append(event)
        elif isinstance(event.fact, RUN_ENDS):
            ended.add(event.stream_id)
    return [event for event in started if event.stream_id not in ended]
