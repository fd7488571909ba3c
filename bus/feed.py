"""The feed: one contiguous, unfiltered reader of the log a process, which everything that follows the log shares.

What this process commits is taken as it is when its position is exactly the next; on any gap, at the start and on a
poll the log is read. So a lost wake-up costs latency, a repeated one a comparison, and nothing is ever skipped.
"""

import asyncio
import random
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import suppress
from operator import attrgetter
from uuid import UUID

import structlog

from bus.delayed_fetch import Patience
from bus.settings import FeedSettings
from bus.watch import StreamWatch, Watching
from store.errors import Unavailable
from store.log.appender import back_off_seconds
from store.log.log import Log
from store.log.records import Page, Recorded


class Feed:
    """Follows the log from its head and lets many readers follow at their own pace.

    Recent facts are kept in a bounded buffer; a reader that has fallen behind it reads the log instead.
    """

    def __init__(self, log: Log, settings: FeedSettings) -> None:
        """Make the feed and let the log tell it of commits; it follows nothing until `run`."""
        self._log = log
        log.tell(self._committed)
        self._settings = settings
        self._buffer: list[Recorded] = []
        self._buffered_after = 0  # every fact after this position, up to `through`, is in the buffer
        self._through = -1
        self._behind = asyncio.Event()
        self._waiting: set[asyncio.Future[None]] = set()
        self._watches: dict[int, set[StreamWatch]] = {}  # by the stream's id as an integer: a UUID's hash is slow
        self._patience = Patience(lambda: self._through, self._behind.set)
        self._failed: Exception | None = None
        self._logger = structlog.get_logger("bus.feed")

    @property
    def through(self) -> int:
        """Give the last position that the feed has seen, with everything before it."""
        return self._through

    def _committed(self, recorded: list[Recorded]) -> None:
        if recorded[0].position == self._through + 1:
            self._extend(recorded, recorded[-1].position)
        elif recorded[-1].position > self._through:
            self._behind.set()

    def be_patient(self, seconds: Callable[[], float]) -> None:
        """Say how long what is `committed_elsewhere` may take to arrive before the log is read for it."""
        self._patience.seconds = seconds

    def wake(self) -> None:
        """Say that the log may have more."""
        self._behind.set()

    def committed_elsewhere(self, position: int) -> None:
        """Say that the log reaches to a position, as another process may have told; that may be known already."""
        if position > self._through:
            self._patience.expect(position)

    def arrived(self, recorded: Sequence[Recorded]) -> None:
        """Take what a bus brought from other processes, as far as it is next; where something is missing, read the log.

        It may come twice, late, or in any order.
        """
        position, following = self._through, list[Recorded]()
        for one in recorded:
            if one.position == position + 1:
                following.append(one)
                position += 1
        if following and self._through >= 0:
            self._extend(following, position)
        if any(one.position > position for one in recorded):
            self._behind.set()

    async def run(self) -> None:
        """Follow the log until cancelled; while the log is away try again, with jittered back-off."""
        failures = 0
        try:
            while True:
                self._behind.clear()
                try:
                    await self._look()
                    failures = 0
                except Unavailable as away:
                    failures += 1
                    self._logger.warning("feed.log_away", reason=str(away), failures=failures)
                    await asyncio.sleep(back_off_seconds(failures))
                    continue
                await self._pause()
        except BaseException as fault:
            self._fail(fault)
            raise

    async def _look(self) -> None:
        if self._through < 0:
            self._begin((await self._log.head())[0])
        else:
            await self._catch_up()

    async def _pause(self) -> None:
        """Wait until somebody says that there is more, or until the next look is due."""
        jittered = self._settings.poll_seconds * random.uniform(0.8, 1.2)  # noqa: S311  # jitter, nothing secret
        with suppress(TimeoutError):
            async with asyncio.timeout(jittered):
                await self._behind.wait()

    def _begin(self, head: int) -> None:
        self._through = self._buffered_after = head
        self._wake_readers()

    async def _catch_up(self) -> None:
        """Read the log until a page is not full. What was committed meanwhile is told of, and looked for after it."""
        limit = self._settings.page_events
        while True:
            after = self._through
            page = await self._log.read_next(after=after, limit=limit)
            # What was committed here, or came over a bus, may have been taken while the page was read.
            if page.through > self._through:
                self._extend([one for one in page.events if one.position > self._through], page.through)
            if page.through < after + limit:
                return

    def _extend(self, recorded: list[Recorded], through: int) -> None:
        self._buffer.extend(recorded)
        self._through = through
        if len(self._buffer) > 2 * self._settings.buffer_events:
            kept = self._buffer[-self._settings.buffer_events :]
            self._buffered_after = kept[0].position - 1
            self._buffer = kept
        if self._watches:
            self._tell_watches(recorded)
        self._wake_readers()

    def _tell_watches(self, recorded: list[Recorded]) -> None:
        stream_id: UUID | None = None
        watches: Collection[StreamWatch] = ()
        for one in recorded:
            if one.stream_id is not stream_id:  # the facts of one append share it
                stream_id = one.stream_id
                watches = self._watches.get(stream_id.int, ())
            for watch in watches:
                watch.take(one)

    def _wake_readers(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def read(self, after: int, limit: int) -> Page:
        """Give facts after a position, as soon as there are any, in order and without a gap.

        An event that this code cannot read is among them as `Unreadable`. Raises what stopped the feed, Unavailable.
        """
        await self.moved(after)
        if after < self._buffered_after:
            return await self._log.read_log(after=after, limit=limit)
        start = bisect_right(self._buffer, after, key=attrgetter("position"))
        events = tuple(self._buffer[start : start + limit])
        whole = start + limit >= len(self._buffer)
        return Page(events=events, through=self._through if whole else events[-1].position)

    async def moved(self, after: int) -> None:
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
        """Give page after page, for as long as the caller asks."""
        while True:
            page = await self.read(after, limit)
            yield page
            after = page.through

    def watch(self, stream_id: UUID, among: set[StreamWatch] | None = None) -> Watching:
        """Follow one stream from now on, for as long as a block lasts; `among` holds the watch as long."""
        watch = StreamWatch()
        if self._failed is not None:
            watch.stop(self._failed)
        return Watching(watch, self._watches, stream_id.int, among)

    def _fail(self, fault: BaseException) -> None:
        failed = self._failed = fault if isinstance(fault, Exception) else FeedStopped()
        for future in self._waiting:
            if not future.done():
                future.set_exception(failed)
        for watches in self._watches.values():
            for watch in watches:
                watch.stop(failed)


class FeedStopped(Exception):  # noqa: N818  # what readers are told when the process shuts down
    """The feed has stopped; nothing more will come."""
