"""Intake: takes runs as they begin; while there is no room they lie in the log, and the rest of the log is still heard.

Without it a full engine would be deaf to the very people who want to cancel what it is full of.
"""

import asyncio
from collections.abc import Iterable
from typing import Final
from uuid import UUID

from bus.feed import Feed
from domain.run_facts import RunCancelled, RunCompleted, RunFailed, RunStarted
from engine.runs import Runs
from store.record import Recorded

PAGE_EVENTS: Final = 2_000
ENDS: Final = (RunCompleted, RunFailed, RunCancelled)


class Intake:
    """Takes the runs of one membership, in the order in which they began. `run` must be running."""

    def __init__(self, feed: Feed, runs: Runs, position: int) -> None:
        """Take runs that begin after a position."""
        self._feed = feed
        self._runs = runs
        self._taken_through = position
        self._heard_through = position
        self._is_behind = asyncio.Event()

    def hear(self, started: Iterable[Recorded], through: int) -> None:
        """Take runs that have begun, as long as there is room; the others are read from the log once there is."""
        for one in started:
            if self._is_behind.is_set():
                break
            if one.position <= self._taken_through:
                continue
            if not self._runs.has_room:
                self._taken_through = one.position - 1
                self._is_behind.set()
                break
            self._runs.begin(one)
        self._heard_through = through

    async def run(self) -> None:
        """Catch up whenever runs had to be left in the log, until cancelled."""
        while True:
            await self._is_behind.wait()
            await self._runs.room()
            await self._catch_up()

    async def _catch_up(self) -> None:
        async for page in self._feed.follow(self._taken_through, PAGE_EVENTS):
            for one in begun(page.events):
                await self._runs.room()
                self._runs.begin(one)
            self._taken_through = page.through
            if page.through >= self._heard_through:
                self._is_behind.clear()
                return


def begun(events: Iterable[Recorded]) -> list[Recorded]:
    """Give the starts of runs, less those that have ended by the end of the page: children that were done at once."""
    started: list[Recorded] = []
    ended: set[UUID] = set()
    for one in events:
        if isinstance(one.fact, RunStarted):
            started.append(one)
        elif isinstance(one.fact, ENDS):
            ended.add(one.stream_id)
    return [one for one in started if one.stream_id not in ended]
