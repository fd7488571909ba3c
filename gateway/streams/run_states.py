"""Runs as they were after each of their facts: folded once for all streams of a process that show them."""

from commands.aggregates import RUN, fold
from commands.repository import Streams
from domain.folded import Folded
from domain.runs.run import Run
from store.errors import Unavailable
from store.log.records import Recorded
from store.lru import LruCache

StateKey = tuple[int, int]
"""A run, by its id as an integer, and its version."""


class RunStates:
    """The states of runs by version. Facts of a run come in order, so that mostly the state before one is known."""

    def __init__(self, streams: Streams, *, most_cached: int) -> None:
        """Create an empty cache of up to `most_cached` states."""
        self._streams = streams
        self._states = LruCache[StateKey, Folded[Run]](most_cached)

    def find_after(self, recorded: Recorded) -> Folded[Run] | None:
        """Return a run after one of its facts if that takes no read; None otherwise."""
        run_id, version = recorded.stream_id.int, recorded.version
        known = self._states.get((run_id, version))
        if known is not None:
            return known
        before = self._states.get((run_id, version - 1)) if version > 1 else None
        if before is None and version > 1:
            return None
        return self._add(fold(RUN, before, (recorded,)))

    async def load_after(self, recorded: Recorded) -> Folded[Run]:
        """Return a run after one of its facts. Raises Unavailable, UnreadableEvent."""
        return self.find_after(recorded) or self._add(fold(RUN, await self.load_before(recorded), (recorded,)))

    async def load_before(self, recorded: Recorded) -> Folded[Run] | None:
        """Return a run before one of its facts; None before the first. Raises Unavailable, UnreadableEvent."""
        run_id, version = recorded.stream_id, recorded.version - 1
        if version == 0:
            return None
        known = self._states.get((run_id.int, version))
        if known is not None:
            return known
        state = await self._streams.read_at(RUN, run_id, version)
        if state is None:
            raise Unavailable(f"the facts of a run before its version {version + 1} could not be read")
        return self._add(state)

    def _add(self, state: Folded[Run]) -> Folded[Run]:
        self._states.put((state.stream_id.int, state.version), state)
        return state
