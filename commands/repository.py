"""Loading folded streams, with a bounded cache by version, so that a hot stream costs no read."""

from collections.abc import Mapping
from typing import Any, Final, TypeVar, cast
from uuid import UUID

from commands.aggregates import Noun, fold
from commands.workflow_graphs import graph_of_version
from domain.folded import Folded
from domain.graphs.graph import Graph
from domain.runs.prices import Priced
from domain.workflow import WorkflowNotFound
from store.log.log import Log
from store.log.records import Guard, Recorded
from store.lru import LruCache

S = TypeVar("S")
NO_PRICES: Final[Mapping[str, Priced]] = {}

PAGE: Final = 1_000


class Streams:
    """Folded streams of one process. What is cached may lag behind the log; expected versions and guards notice."""

    def __init__(self, log: Log, *, most_cached: int) -> None:
        """Make the cache, which forgets the streams that were used least recently."""
        self._log = log
        # By the stream's id as an integer: a UUID hashes and compares through Python.
        self._cached = LruCache[int, Folded[Any]](most_cached)

    async def load(self, noun: Noun[S], stream_id: UUID) -> Folded[S] | None:
        """Give a folded stream, None for one that has not begun. Raises Unavailable, UnreadableEvent."""
        found = self.cached(stream_id)
        if found is not None:
            return cast("Folded[S]", found) if type(found.state) is type(noun.initial) else None
        return await self.reload(noun, stream_id)

    def cached(self, stream_id: UUID) -> Folded[Any] | None:
        """Give a folded stream of any noun as it is remembered, None where nothing is."""
        return self._cached.get(stream_id.int)

    async def reload(self, noun: Noun[S], stream_id: UUID) -> Folded[S] | None:
        """Read what is new of a stream and fold it onto what is cached."""
        known = self._cached.get(stream_id.int)
        if known is not None and type(known.state) is not type(noun.initial):
            return None
        loaded = cast("Folded[S] | None", known)
        while page := await self._log.read_stream(stream_id, after=_version(loaded), limit=PAGE):
            if not belongs(noun, page[0]):
                return None
            loaded = fold(noun, loaded, page)
            if len(page) < PAGE:
                break
        if loaded is not None:
            self.keep(loaded)
        return loaded

    async def at(self, noun: Noun[S], stream_id: UUID, version: int) -> Folded[S] | None:
        """Give a stream as it was at a version, from the log and past the cache."""
        return await self._up_to(noun, stream_id, None, version)

    async def onward(self, noun: Noun[S], loaded: Folded[S], version: int) -> Folded[S] | None:
        """Give a stream as it was at a version, from an earlier one on; None when it is another noun's."""
        return await self._up_to(noun, loaded.stream_id, loaded, version)

    async def _up_to(self, noun: Noun[S], stream_id: UUID, loaded: Folded[S] | None, version: int) -> Folded[S] | None:
        while (known := _version(loaded)) < version:
            page = await self._log.read_stream(stream_id, after=known, limit=min(PAGE, version - known))
            if not page or not belongs(noun, page[0]):
                return None
            loaded = fold(noun, loaded, page)
        return loaded

    async def graph(self, workflow_id: UUID, version: int) -> Graph | None:
        """Give the graph of a workflow's version, None when there is none. Raises Unavailable."""
        return await graph_of_version(self._log, workflow_id, version)

    def keep(self, loaded: Folded[Any]) -> None:
        """Remember a folded stream, unless a newer version is known."""
        key = loaded.stream_id.int
        known = self._cached.get(key)
        if known is None or known.version <= loaded.version:
            self._cached.put(key, loaded)

    def forget(self, stream_id: UUID) -> None:
        """Drop a stream that will not be asked for again soon."""
        self._cached.remove(stream_id.int)


def _version(loaded: Folded[Any] | None) -> int:
    return 0 if loaded is None else loaded.version


def belongs(noun: Noun[Any], recorded: Recorded) -> bool:
    """Tell whether a fact is of a noun: ids of all nouns share one space, and a caller may mix them up."""
    tag = recorded.fact.__struct_config__.tag
    topic = tag if isinstance(tag, str) else ""
    return topic.startswith(f"{noun.name}.") or (noun.name == "run" and topic.startswith("step."))


class Sources:
    """Loads what a command is decided against, each stream once, and remembers it as guards of the append.

    A stream that is asked for again is as it was: while something else was read it may have moved, and a decision that
    rests on two versions of one stream would pass for one on the newer.
    """

    def __init__(
        self, streams: Streams, workspace_id: UUID, *, fresh: bool, prices: Mapping[str, Priced] = NO_PRICES
    ) -> None:
        """Make the loader; `fresh` reads past the cache, for a second decision after a conflict.

        `prices` are those of models today, by the names that graphs use; a run pins what it needs of them.
        """
        self.prices = prices
        self._streams = streams
        self._workspace_id = workspace_id
        self._fresh = fresh
        self._found: dict[int, Folded[Any]] = {}  # by the stream's id as an integer, as in the cache

    async def load(self, noun: Noun[S], stream_id: UUID) -> Folded[S]:
        """Give a folded stream of the workspace and guard its version. Raises the noun's not-found refusal."""
        loaded = await self.find(noun, stream_id)
        if loaded is None:
            raise noun.not_found
        return loaded

    async def find(self, noun: Noun[S], stream_id: UUID) -> Folded[S] | None:
        """Give a folded stream of the workspace and guard its version, or None."""
        found = self._found.get(stream_id.int)
        if found is None:
            found = None if self._fresh else self._streams.cached(stream_id)
            if found is None:
                found = await self._streams.reload(noun, stream_id)
            if found is None or found.workspace_id != self._workspace_id:
                return None
        if type(found.state) is not type(noun.initial):
            return None
        self._found[stream_id.int] = found
        return cast("Folded[S]", found)

    async def look(self, noun: Noun[S], stream_id: UUID) -> Folded[S]:
        """Give a folded stream of which only what cannot change is used, so that it is not guarded.

        Raises the noun's not-found refusal.
        """
        loaded = await self._streams.reload(noun, stream_id)
        if loaded is None or loaded.workspace_id != self._workspace_id:
            raise noun.not_found
        return loaded

    async def graph(self, workflow_id: UUID, version: int) -> Graph:
        """Give the graph of a version that a run is pinned to, which never changes. Raises WorkflowNotFound."""
        graph = await self._streams.graph(workflow_id, version)
        if graph is None:
            raise WorkflowNotFound
        return graph

    def guards(self, target: UUID) -> tuple[Guard, ...]:
        """Give the versions that the decision rests on; the target's own is its expected version."""
        return tuple([Guard(one.stream_id, one.version) for key, one in self._found.items() if key != target.int])
