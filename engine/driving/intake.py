"""Intake: takes runs as they begin; for whom there is no room they lie in the log, and the rest of it is still heard.

Without it a full engine would be deaf to the very people who want to cancel what it is full of. And a workspace whose
runs lie in the log must not have those of another one lie there too.
"""

import asyncio
from collections.abc import Iterable
from typing import Final
from uuid import UUID

import structlog

from bus.feed import Feed
from domain.runs.facts import RUN_ENDS, RunStarted
from engine.driving.active_runs import Runs
from store.errors import Unavailable
from store.log.appender import back_off_seconds
from store.log.records import Page, Recorded

PAGE_EVENTS: Final = 2_000
GATHER_SECONDS: Final = 0.01
"""So long is waited for more room, before the log is read for those who have some."""


class Intake:
    """Takes the runs of one membership, those of each workspace in the order they began. `run` must be running.

    Of a workspace without room no more is heard: what began after a position is read from the log once there is room.
    """

    def __init__(self, feed: Feed, runs: Runs, position: int) -> None:
        """Take runs that begin after a position."""
        self._feed = feed
        self._runs = runs
        self._places = runs.places
        self._begins_after = position
        self._heard_through = position
        self._behind: dict[UUID, int] = {}  # through which position the runs of a workspace have been taken
        self._is_behind = asyncio.Event()

    def hear(self, started: Iterable[Recorded], through: int) -> None:
        """Take runs that have begun, as far as there is room for those of their workspaces."""
        for one in started:
            if one.position <= self._begins_after or one.workspace_id in self._behind:
                continue
            if self._places.has_room(one.workspace_id):
                self._runs.begin(one)
            else:
                self._behind[one.workspace_id] = one.position - 1
                self._is_behind.set()
        self._heard_through = through

    async def run(self) -> None:
        """Catch up whenever runs had to be left in the log, until cancelled."""
        while True:
            await self._is_behind.wait()
            self._runs.freed.clear()
            if roomy := [one for one in self._behind if self._places.has_room_to_spare(one)]:
                await self._read_on(min(self._behind[one] for one in roomy))
            else:
                await self._runs.freed.wait()
                await asyncio.sleep(GATHER_SECONDS)

    async def _read_on(self, after: int) -> None:
        """Read one page of the log for all whose runs have been taken that far or farther."""
        page = await page_after(self._feed, after)
        full = self._take(page, after)
        for workspace_id, through in list(self._behind.items()):
            if through < after or workspace_id in full:
                continue
            if page.through >= self._heard_through:  # what comes next is heard
                del self._behind[workspace_id]
            else:
                self._behind[workspace_id] = max(through, page.through)
        if not self._behind:
            self._is_behind.clear()

    def _take(self, page: Page, after: int) -> set[UUID]:
        """Take what has begun on a page; gives the workspaces for whose runs there was no more room."""
        full: set[UUID] = set()
        for one in begun(page.events):
            workspace_id = one.workspace_id
            through = self._behind.get(workspace_id)
            if through is None or through < after or workspace_id in full:
                continue
            if not through < one.position <= self._heard_through:
                continue
            if self._places.has_room(workspace_id):
                self._runs.begin(one)
            else:
                full.add(workspace_id)
                self._behind[workspace_id] = one.position - 1
        return full


async def page_after(feed: Feed, position: int) -> Page:
    """Give what comes next in the log; while it cannot be read, what is in hand goes on, and it is tried again."""
    failures = 0
    while True:
        try:
            return await feed.read(position, PAGE_EVENTS)
        except Unavailable as away:
            failures += 1
            structlog.get_logger("engine").warning("engine.log_not_read", reason=str(away))
            await asyncio.sleep(back_off_seconds(failures))


def begun(events: Iterable[Recorded]) -> list[Recorded]:
    """Give the starts of runs, less those that have ended by the end of the page: children that were done at once."""
    started: list[Recorded] = []
    ended: set[UUID] = set()
    for one in events:
        if isinstance(one.fact, RunStarted):
            started.append(one)
        elif isinstance(one.fact, RUN_ENDS):
            ended.add(one.stream_id)
    return [one for one in started if one.stream_id not in ended]
