"""A watch on one stream: the facts that were appended to it since the watch began."""

import asyncio
from collections.abc import Callable
from typing import Final

from store.errors import UnreadableEvent
from store.log.records import Recorded, Unreadable

MOST_UNTAKEN: Final = 1_000

Wakes = Callable[[Recorded], bool]
"""Says whether a fact is one that the watcher waits for."""


class WatchOverrun(Exception):  # noqa: N818  # tells the watcher to read the log instead
    """More came than a watch keeps; what it missed is in the log."""


class StreamWatch:
    """Gathers the facts of one stream for one watcher, up to a bound."""

    def __init__(self) -> None:
        """Make a watch that has seen nothing, and that wakes its watcher for every fact."""
        self._untaken: list[Recorded] = []
        self._wakes: Wakes | None = None
        self._due = False
        self._missed = False
        self._ready: asyncio.Future[None] | None = None
        self._fault: Exception | None = None

    def until(self, wakes: Wakes) -> None:
        """Wake the watcher only for some facts, with all that came before: each wake of a task has its price."""
        self._wakes = wakes
        self._due = self._missed or any(wakes(one) for one in self._untaken)

    def take(self, recorded: Recorded) -> None:
        """Keep a fact for the watcher; past the bound let all go and remember that.

        An event that cannot be read stops the watch: nobody can fold the stream past it.
        """
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
        """Wake the watcher though there may be no fact: `facts` then gives what there is, perhaps nothing."""
        self._due = True
        self._wake()

    def stop(self, fault: Exception) -> None:
        """Tell the watcher that nothing more will come, and why."""
        self._fault = fault
        self._wake()

    def _wake(self) -> None:
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)

    async def facts(self) -> list[Recorded]:
        """Wait for facts and take all there are. Raises WatchOverrun, or what stopped the watch."""
        while not self._due:
            if self._fault is not None:
                raise self._fault
            self._ready = asyncio.get_running_loop().create_future()
            await self._ready
        self._due = False
        return self.rest()

    def rest(self) -> list[Recorded]:
        """Take what there is, without waiting. Raises WatchOverrun."""
        if self._missed:
            self._missed = False
            raise WatchOverrun
        taken, self._untaken = self._untaken, []
        return taken


class Watching:
    """A watch for as long as a block lasts. Written out: two generators as context managers took 2 µs a run more."""

    def __init__(
        self,
        watch: StreamWatch,
        by_stream: dict[int, set[StreamWatch]],
        stream: int,
        among: set[StreamWatch] | None = None,
    ) -> None:
        """Take the watch, and where it is while it is open: with those of its stream, and perhaps among others."""
        self.watch = watch
        self._by_stream = by_stream
        self._stream = stream
        self._among = among

    def __enter__(self) -> StreamWatch:
        """Begin."""
        self._by_stream.setdefault(self._stream, set()).add(self.watch)
        if self._among is not None:
            self._among.add(self.watch)
        return self.watch

    def __exit__(self, *_fault: object) -> None:
        """End."""
        watches = self._by_stream[self._stream]
        watches.discard(self.watch)
        if not watches:
            del self._by_stream[self._stream]
        if self._among is not None:
            self._among.discard(self.watch)
