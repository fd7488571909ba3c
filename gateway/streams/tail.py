"""Replay facts from the log, then follow them live: the one reader behind every stream that callers hold open.

A watch is registered first, and the log is read up to the position that the feed had reached at that moment. Every
later fact comes through the watch. So nothing is missing and nothing is repeated at the seam, whatever is committed
meanwhile.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from bus.watch import StreamWatch, Watching, WatchOverrun
from gateway.streams.turns import ReplayTurns
from store.log.records import Page, Recorded


class Source(Protocol):
    """The facts that a stream shows: of a run, or of a project with filters."""

    async def wait_for_start(self) -> int:
        """Return the position up to which facts are replayed; later ones come through the watch."""
        ...

    async def read(self, after: int, target: int) -> Page:
        """Return the next facts after a position and how far was searched, at least one position further.

        `target` is how far the caller will read. Raises Unavailable, UnreadableEvent.
        """
        ...

    def watch(self) -> Watching:
        """Return a context that watches for new facts."""
        ...

    async def select(self, facts: list[Recorded]) -> list[Recorded]:
        """Return those watched facts that belong to the stream, in order."""
        ...


class Batch(Struct, frozen=True, kw_only=True):
    """Facts in order of position, possibly none.

    `lagging` is true when the reader was too slow for the live facts, and this batch goes on from the log; `resumed`
    with the first live batch after that.
    """

    facts: list[Recorded]
    through: int
    is_live: bool
    lagging: bool = False
    resumed: bool = False


class Pace(Struct, frozen=True, kw_only=True):
    """Replay facts at the pace at which they happened, `speed` times as fast; no pause exceeds `gap_seconds_max`."""

    speed: float
    gap_seconds_max: float

    def compute_pause(self, earlier: datetime, later: datetime) -> float:
        """Return how many seconds to wait between two facts."""
        return min(max(0.0, (later - earlier).total_seconds()) / self.speed, self.gap_seconds_max)


class LogTail:
    """The facts of a source after a position, without a gap or a repeat."""

    def __init__(
        self,
        source: Source,
        *,
        after: int,
        heartbeat_seconds: float,
        pace: Pace | None = None,
        turns: ReplayTurns | None = None,
    ) -> None:
        """Create a tail; facts at `after` or before it are left out. With a pace the past is replayed at that pace.

        `turns` are shared by all tails of a process: each page is replayed in its turn.
        """
        self._source = source
        self._after = after
        self._heartbeat_seconds = heartbeat_seconds
        self._pace = pace
        self._turns = turns
        self._is_lagging = False
        self._last_recorded_at: datetime | None = None
        self._watch: StreamWatch | None = None
        self._fault: Exception | None = None

    def nudge(self) -> None:
        """Yield a batch now, with the facts that there are."""
        if self._watch is not None:
            self._watch.nudge()

    def stop(self, fault: Exception) -> None:
        """End the iteration: it raises `fault` at its next wait."""
        self._fault = fault
        if self._watch is not None:
            self._watch.stop(fault)

    async def follow(self) -> AsyncIterator[Batch]:
        """Yield batches until stopped; an empty one at least every heartbeat.

        Raises Draining, FeedStopped, Unavailable, UnreadableEvent, and what `stop` was called with.
        """
        while True:
            target = await self._source.wait_for_start()
            with self._source.watch() as watch:
                self._watch = watch
                if self._fault is not None:
                    raise self._fault
                try:
                    async for batch in self._replay(watch, target):
                        yield batch
                    async for batch in self._follow_live(watch):
                        yield batch
                except WatchOverrun:  # the reader is slow, or was shown the past: read on from the log
                    self._is_lagging = self._pace is None
                finally:
                    self._watch = None

    def _create_batch(self, facts: list[Recorded], *, is_live: bool) -> Batch:
        resumed = self._is_lagging and is_live
        if resumed:
            self._is_lagging = False
        return Batch(facts=facts, through=self._after, is_live=is_live, resumed=resumed)

    async def _replay(self, watch: StreamWatch, target: int) -> AsyncIterator[Batch]:
        if self._is_lagging:
            yield Batch(facts=[], through=self._after, is_live=False, lagging=True)
        while self._after < target:
            if self._pace is not None:
                page = await self._source.read(self._after, target)
                async for batch in self._replay_slowly(watch, page, self._pace):
                    yield batch
                target = await self._source.wait_for_start()  # facts committed during the replay are replayed too
                self._after = page.through
                yield self._create_batch([], is_live=self._after >= target)
            else:
                turn = None if self._turns is None else await self._turns.begin()
                try:
                    page = await self._source.read(self._after, target)
                    self._after = page.through
                    yield self._create_batch(list(page.events), is_live=self._after >= target)
                finally:
                    if turn is not None:
                        turn.end()
            await asyncio.sleep(0)  # let other requests run during a long replay
            watch.check()
        self._pace = None  # what was the present at the seam is live from now on
        yield self._create_batch([], is_live=True)

    async def _replay_slowly(self, watch: StreamWatch, page: Page, pace: Pace) -> AsyncIterator[Batch]:
        """Yield the facts of a page one by one, each when it is due; heartbeats in long pauses."""
        for fact in page.events:
            rest = pace.compute_pause(self._last_recorded_at or fact.recorded_at, fact.recorded_at)
            self._last_recorded_at = fact.recorded_at
            while rest > 0:
                await watch.pause(min(rest, self._heartbeat_seconds))
                rest -= self._heartbeat_seconds
                if rest > 0:
                    yield Batch(facts=[], through=self._after, is_live=False)
            self._after = fact.position
            yield Batch(facts=[fact], through=self._after, is_live=False)

    async def _follow_live(self, watch: StreamWatch) -> AsyncIterator[Batch]:
        while True:
            try:
                async with asyncio.timeout(self._heartbeat_seconds):
                    watched = await watch.facts()
            except TimeoutError:
                watched = watch.rest()
                if not watched:  # every fact so far belongs to other streams: a later replay need not search them again
                    self._after = max(self._after, await self._source.wait_for_start())
            new = [fact for fact in watched if fact.position > self._after]
            if new:
                self._after = new[-1].position
                new = await self._source.select(new)
            yield Batch(facts=new, through=self._after, is_live=True)
