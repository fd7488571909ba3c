"""A watch on one stream: the facts that were appended to it since the watch began."""

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Final

from domain.fact import Fact
from store.errors import UnreadableEvent
from store.log.records import Recorded, Unreadable

MOST_UNTAKEN: Final = 1_000

Wakes = Callable[[Recorded], bool]
"""Return whether the watcher waits for a fact."""


class WatchOverrun(Exception):  # noqa: N818  # expected: the watcher reads the log instead
    """More facts arrived than a watch buffers; the log has them."""


class StreamWatch:
    """Buffer the facts of one stream for one watcher, up to a limit."""

    def __init__(self, kinds: Collection[type[Fact]] | None = None) -> None:
        """Create an empty watch that wakes its watcher for every fact, or for those of some kinds only."""
        self._kinds = None if kinds is None else frozenset((*kinds, Unreadable))
        self._untaken: list[Recorded] = []
        self._wakes: Wakes | None = None
        self._due = False
        self._missed = False
        self._ready: asyncio.Future[None] | None = None
        self._fault: Exception | None = None

    def until(self, wakes: Wakes) -> None:
        """Wake the watcher only for facts that `wakes` accepts, with all before them: waking a task is expensive."""
        self._wakes = wakes
        self._due = self._missed or any(wakes(recorded) for recorded in self._untaken)

    def take(self, recorded: Recorded) -> None:
        """Append a fact; if the buffer is full, clear it and raise WatchOverrun at the next read.

        An event that cannot be decoded stops the watch: the stream cannot be folded past it.
        """
        if self._kinds is not None and type(recorded.fact) not in self._kinds:
            return
        if isinstance(recorded.fact, Unreadable):
            self.stop(UnreadableEvent(recorded.position, recorded.fact.topic, recorded.fact.reason))
            return
        if len(self._untaken) >= MOST_UNTAKEN:
            self._missed = True
            self._untaken = []
        if not self._missed:
            self._untaken.append(recorded)
        if self._wakes is None or self._wakes(recorded):
            self._due = True
            self._wake()

    def nudge(self) -> None:
        """Wake the watcher even without a fact: `facts` then returns the buffered facts, possibly none."""
        self._due = True
        self._wake()

    def stop(self, fault: Exception) -> None:
        """End the watch: the watcher raises `fault`."""
        self._fault = fault
        self._wake()

    def check(self) -> None:
        """Raise what stopped the watch, if it is stopped."""
        if self._fault is not None:
            raise self._fault

    async def pause(self, seconds: float) -> None:
        """Wait for a time without taking facts. Raises what stopped the watch as soon as it is stopped."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    self.check()
                    self._ready = asyncio.get_running_loop().create_future()
                    await self._ready

    def _wake(self) -> None:
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)

    async def facts(self) -> list[Recorded]:
        """Wait for facts; remove and return them. Raises WatchOverrun, or the fault that stopped the watch."""
        while not self._due:
            if self._fault is not None:
                raise self._fault
            self._ready = asyncio.get_running_loop().create_future()
            await self._ready
        self._due = False
        return self.rest()

    def rest(self) -> list[Recorded]:
        """Remove and return the buffered facts without waiting. Raises WatchOverrun."""
        if self._missed:
            self._missed = False
            raise WatchOverrun
        taken, self._untaken = self._untaken, []
        return taken


class Watching:
    """A watch for the length of a block. A class: two generator-based context managers took 2 µs a run more."""

    def __init__(
        self,
        watch: StreamWatch,
        by_stream: dict[int, set[StreamWatch]],
        stream: int,
        among: set[StreamWatch] | None = None,
    ) -> None:
        """Create the context; while it is open the watch is in `by_stream` and, if given, in the set `among`."""
        self.watch = watch
        self._by_stream = by_stream
        self._stream = stream
        self._among = among

    def __enter__(self) -> StreamWatch:
        """Register the watch."""
        self._by_stream.setdefault(self._stream, set()).add(self.watch)
        if self._among is not None:
            self._among.add(self.watch)
        return self.watch

    def __exit__(self, *_fault: object) -> None:
        """Remove the watch."""
        watches = self._by_stream[self._stream]
        watches.discard(self.watch)
        if not watches:
            del self._by_stream[self._stream]
        if self._among is not None:
            self._among.discard(self.watch)
