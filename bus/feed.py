"""The feed: the one reader of the log in a process, contiguous and unfiltered, shared by everything that follows it.

Commits of this process and events from a bus are appended when their position is exactly the next one. On a gap, at
the start and on a poll the feed reads the log. So a lost wake-up costs latency, a repeated one a comparison, and no
event is ever skipped.
"""

import asyncio
import random
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import suppress
from math import inf
from operator import attrgetter
from typing import Final
from uuid import UUID

import structlog

from bus.delayed_fetch import DelayedFetch
from bus.settings import FeedSettings
from bus.watch import StreamWatch, Watching
from domain.fact import Fact
from store.errors import Unavailable
from store.log.epochs import Connection
from store.log.gaps import Gap
from store.log.log import Log
from store.log.records import Page, Recorded
from store.outage_log import OutageLog
from store.retrying import Retrying
from store.settings import MIB

BUFFER_BYTES: Final = 64 * MIB


class Feed:
    """Follow the log from its head, for many readers that each go at their own pace.

    Recent facts are in a bounded buffer; a reader that has fallen behind it reads the log.
    """

    def __init__(self, log: Log, settings: FeedSettings, *, buffer_bytes: int = BUFFER_BYTES) -> None:
        """Create the feed and subscribe to the commits of this process; it reads nothing until `run`.

        The buffer holds events that take about `buffer_bytes` of memory, and the last of any size.
        """
        self._buffer_bytes = buffer_bytes
        self._buffered_bytes = 0
        self._log = log
        log.tell(self._add_committed)
        self._settings = settings
        self._buffer: list[Recorded] = []
        self._buffered_after = 0  # every fact after this position, up to `through`, is in the buffer
        self._through = -1
        self._checked_at = 0.0
        self._behind = asyncio.Event()
        self._waiting: set[asyncio.Future[None]] = set()
        self._watches: dict[int, set[StreamWatch]] = {}  # by the stream id as an integer: the hash of a UUID is slow
        self._project_watches: dict[int, set[StreamWatch]] = {}
        self._workspace_watches: dict[int, set[StreamWatch]] = {}
        self._delayed_fetch = DelayedFetch(lambda: self._through, self._behind.set)
        self._failed: Exception | None = None
        self._logger = structlog.get_logger("bus.feed")

    @property
    def through(self) -> int:
        """Return the last position up to which the feed has every event."""
        return self._through

    def _add_committed(self, recorded: list[Recorded]) -> None:
        if recorded[0].position == self._through + 1:
            self._extend(recorded, recorded[-1].position)
        elif recorded[-1].position > self._through:
            self._behind.set()

    def delay_fetch(self, seconds: Callable[[], float]) -> None:
        """Set how many seconds announced events may take to arrive before the feed reads the log for them."""
        self._delayed_fetch.seconds = seconds

    def wake(self) -> None:
        """Read the log now: it may have more events."""
        self._behind.set()

    def announce(self, position: int) -> None:
        """Announce that another process has committed up to a position; the feed may know it already."""
        if position > self._through:
            self._delayed_fetch.expect(position)

    def add_arrived(self, recorded: Sequence[Recorded]) -> None:
        """Append events from a bus that continue the feed; on a gap read the log.

        Events may be duplicated, late, or in any order.
        """
        position, following = self._through, list[Recorded]()
        for event in recorded:
            if event.position == position + 1:
                following.append(event)
                position += 1
        if following and self._through >= 0:
            self._extend(following, position)
        if any(event.position > position for event in recorded):
            self._behind.set()

    async def run(self) -> None:
        """Follow the log until cancelled; while the log is unavailable retry with back-off."""
        outages = OutageLog("bus.feed", lost="feed.log_away", back="feed.log_back")
        retrying = Retrying(Unavailable, outages=outages)
        try:
            while True:
                await retrying.call(self._read_new)
                await self._pause()
        except BaseException as fault:
            self._fail(fault)
            raise

    async def _read_new(self) -> None:
        self._behind.clear()
        try:
            await self._check_log()
            if self._through < 0:
                self._begin((await self._log.head())[0])
            else:
                await self._catch_up()
        except Unavailable:
            self._checked_at = -inf  # what comes back may be an older log
            raise

    async def _check_log(self) -> None:
        """Check once per poll that no restore has rewound the log. Raises LogRewound."""
        now = asyncio.get_running_loop().time()
        if now - self._checked_at >= self._settings.poll_seconds / 2:
            await self._log.check_unchanged()
            self._checked_at = now

    async def check_connection(self, connection: Connection) -> None:
        """Check that a connection leads to a log that has what this feed delivers. Raises LogRewound."""
        await self._log.check_connection(connection)

    async def _pause(self) -> None:
        """Wait until woken, or until the next poll is due."""
        jittered = self._settings.poll_seconds * random.uniform(0.8, 1.2)  # noqa: S311  # jitter, nothing secret
        with suppress(TimeoutError):
            async with asyncio.timeout(jittered):
                await self._behind.wait()

    def _begin(self, head: int) -> None:
        self._through = self._buffered_after = head
        self._wake_readers()

    async def _catch_up(self) -> None:
        """Read the log until a page is not full. Commits made meanwhile wake the feed again."""
        limit = self._settings.page_events
        while True:
            after = self._through
            page = await self._log.read_next(after=after, limit=limit)
            self._report_gaps(page.gaps)
            # Commits of this process, or events from a bus, may have been appended while the page was read.
            if page.through > self._through:
                self._extend([event for event in page.events if event.position > self._through], page.through)
            if page.through < after + limit:
                return

    def _report_gaps(self, gaps: Sequence[Gap]) -> None:
        """Log missing positions, and count them: readers of the feed continue after them."""
        for gap in gaps:
            self._log.missing_positions += gap.last - gap.first + 1
            self._logger.error("feed.positions_missing", first=gap.first, last=gap.last)

    def _extend(self, recorded: list[Recorded], through: int) -> None:
        if recorded:
            self._log.remember(recorded[-1])
        self._buffer.extend(recorded)
        self._buffered_bytes += sum([event.weight for event in recorded])
        self._through = through
        if len(self._buffer) > 2 * self._settings.buffer_events or self._buffered_bytes > self._buffer_bytes:
            self._shorten_buffer()
        if self._watches:
            self._notify_watches(recorded)
        if self._project_watches:
            self._notify_project_watches(recorded)
        if self._workspace_watches:
            self._notify_workspace_watches(recorded)
        self._wake_readers()

    def _shorten_buffer(self) -> None:
        """Keep the latest events: at most as many as configured, and half of the bytes, so that it happens rarely."""
        first = len(self._buffer)
        kept_bytes = 0
        for event in reversed(self._buffer[-self._settings.buffer_events :]):
            if first < len(self._buffer) and kept_bytes + event.weight > self._buffer_bytes // 2:
                break
            kept_bytes += event.weight
            first -= 1
        kept = self._buffer[first:]
        self._buffered_after = kept[0].position - 1
        self._buffer = kept
        self._buffered_bytes = kept_bytes

    def _notify_watches(self, recorded: list[Recorded]) -> None:
        stream_id: UUID | None = None
        watches: Collection[StreamWatch] = ()
        for event in recorded:
            if event.stream_id is not stream_id:  # the facts of one append share it
                stream_id = event.stream_id
                watches = self._watches.get(stream_id.int, ())
            for watch in watches:
                watch.take(event)

    def _notify_project_watches(self, recorded: list[Recorded]) -> None:
        for event in recorded:
            if event.project_id is not None:
                for watch in self._project_watches.get(event.project_id.int, ()):
                    watch.take(event)

    def _notify_workspace_watches(self, recorded: list[Recorded]) -> None:
        for event in recorded:
            for watch in self._workspace_watches.get(event.workspace_id.int, ()):
                watch.take(event)

    def _wake_readers(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def read(self, after: int, limit: int) -> Page:
        """Return facts after a position as soon as there are any, in order and without a gap.

        An event that this code cannot decode is returned as `Unreadable`. Raises Unavailable, or what stopped the feed.
        """
        await self.wait_past(after)
        if after < self._buffered_after:
            return await self._log.read_log(after=after, limit=limit)
        start = bisect_right(self._buffer, after, key=attrgetter("position"))
        events = tuple(self._buffer[start : start + limit])
        whole = start + limit >= len(self._buffer)
        return Page(events=events, through=self._through if whole else events[-1].position)

    async def wait_past(self, after: int) -> None:
        """Wait until the feed is past a position. Raises what stopped the feed."""
        while after >= self._through:
            if self._failed is not None:
                raise self._failed
            future = asyncio.get_running_loop().create_future()
            self._waiting.add(future)
            try:
                await future
            finally:
                self._waiting.discard(future)

    async def follow(self, after: int, limit: int) -> AsyncIterator[Page]:
        """Yield pages until cancelled."""
        while True:
            page = await self.read(after, limit)
            yield page
            after = page.through

    def watch(self, stream_id: UUID, among: set[StreamWatch] | None = None) -> Watching:
        """Return a context that watches one stream; while it is open the watch is also in the set `among`."""
        return Watching(self._create_watch(), self._watches, stream_id.int, among)

    def watch_project(self, project_id: UUID, among: set[StreamWatch] | None = None) -> Watching:
        """Return a context that watches every stream of a project; see `watch`."""
        return Watching(self._create_watch(), self._project_watches, project_id.int, among)

    def watch_workspace(
        self, workspace_id: UUID, kinds: Collection[type[Fact]], among: set[StreamWatch] | None = None
    ) -> Watching:
        """Return a context that watches every stream of a workspace for facts of some kinds, likewise."""
        return Watching(self._create_watch(kinds), self._workspace_watches, workspace_id.int, among)

    def _create_watch(self, kinds: Collection[type[Fact]] | None = None) -> StreamWatch:
        watch = StreamWatch(kinds)
        if self._failed is not None:
            watch.stop(self._failed)
        return watch

    def _fail(self, fault: BaseException) -> None:
        failed = self._failed = fault if isinstance(fault, Exception) else FeedStopped()
        for future in self._waiting:
            if not future.done():
                future.set_exception(failed)
        registries = (self._watches, self._project_watches, self._workspace_watches)
        for watches in (watches for registry in registries for watches in registry.values()):
            for watch in watches:
                watch.stop(failed)


class FeedStopped(Exception):  # noqa: N818  # expected: the process shuts down
    """The feed has stopped: the process shuts down."""
