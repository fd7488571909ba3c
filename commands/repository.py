"""Folded streams: loading them through a bounded cache, and the only place that appends to them."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar, cast
from uuid import UUID

from commands.aggregates import PROJECT, Noun, fold
from domain.fact import Fact
from domain.folded import Folded
from domain.graphs.graph import Graph
from domain.project import Project, ProjectNotActive, ProjectStatus
from domain.runs.prices import Priced
from domain.workflow import WorkflowCreated, WorkflowGraphRevised, WorkflowNotFound, get_new_graph
from store.errors import OutcomeUnknown, Unavailable
from store.log.log import Log
from store.log.records import Append, CommandId, Guard, Metadata, Recorded, Repeated
from store.lru import WeighedLruCache
from store.settings import MIB
from store.workers.pool import WorkerPool

S = TypeVar("S")
T = TypeVar("T")
NO_PRICES: Final[Mapping[str, Priced]] = {}

Admit = Callable[[UUID], Awaitable[None]]
"""Admits one more run of a workspace, or raises TooManyRuns."""


async def admit_any(_workspace_id: UUID) -> None:
    """Admit every run."""


PAGE: Final = 1_000
BYTES_CACHED: Final = 64 * MIB


def weigh_folded(stream: Folded[object]) -> int:
    """Return the memory that a folded stream takes, estimated in bytes."""
    return stream.weight


class Streams:
    """The folded streams of one process.

    A cached stream may lag behind the log: the expected version and the guards of an append detect that.
    """

    def __init__(
        self, log: Log, *, most_cached: int, bytes_cached: int = BYTES_CACHED, workers: WorkerPool | None = None
    ) -> None:
        """Create an empty cache that evicts the least recently used streams; `workers` evaluate slow decisions."""
        self._log = log
        self.workers = workers
        # By the stream's id as an integer: a UUID hashes and compares through Python.
        self._cache = WeighedLruCache[int, Folded[object]](most_cached, max_bytes=bytes_cached, weigh=weigh_folded)

    async def load(self, noun: Noun[S], stream_id: UUID) -> Folded[S] | None:
        """Return a folded stream, None if it has no facts. Raises Unavailable, UnreadableEvent."""
        cached = self.find_cached(stream_id)
        return await self.reload(noun, stream_id) if cached is None else _narrow(noun, cached)

    def find_cached(self, stream_id: UUID) -> Folded[object] | None:
        """Return a folded stream of any noun if it is cached."""
        return self._cache.get(stream_id.int)

    async def reload(self, noun: Noun[S], stream_id: UUID) -> Folded[S] | None:
        """Read the new facts of a stream, fold them onto the cached state and return it; None without facts."""
        cached = self._cache.get(stream_id.int)
        stream = None if cached is None else _narrow(noun, cached)
        if cached is not None and stream is None:
            return None
        while page := await self._log.read_stream(stream_id, after=_version(stream), limit=PAGE):
            if not is_of_noun(noun, page[0]):
                return None
            stream = fold(noun, stream, page)
            if len(page) < PAGE:
                break
        if stream is not None:
            self.keep(stream)
        return stream

    async def read_on(self, noun: Noun[S], stream_id: UUID, row: Folded[S] | None) -> Folded[S] | None:
        """Return a stream up to date with the log, starting from its row or the cached state, whichever is newer.

        It is cached only if it was cached before: readers do not evict streams that commands need. Returns None for no
        facts of this noun. Raises Unavailable, UnreadableEvent.
        """
        found = self.find_cached(stream_id)
        cached = None if found is None else _narrow(noun, found)
        stream = cached if _version(cached) > _version(row) else row
        while page := await self._log.read_stream(stream_id, after=_version(stream), limit=PAGE):
            if not is_of_noun(noun, page[0]):
                return None
            stream = fold(noun, stream, page)
            if len(page) < PAGE:
                break
        if stream is not None and cached is not None:
            self.keep(stream)
        return stream

    async def read_at(self, noun: Noun[S], stream_id: UUID, version: int) -> Folded[S] | None:
        """Return a stream as it was at a version, from the log without the cache; None if it is another noun's."""
        return await self._read_until(noun, stream_id, None, version)

    async def append(  # the parts of an append, by name
        self,
        noun: Noun[S],
        stream: Folded[S],
        facts: tuple[Fact, ...],
        metadata: Metadata,
        *,
        state: S | None = None,
        guards: tuple[Guard, ...] = (),
        command_id: CommandId | None = None,
        contradicted_by: tuple[str, ...] | None = None,
    ) -> Folded[S] | Repeated:
        """Append facts that were decided on a stream and return the stream after them, or the outcome of a repeat.

        `state` is the state after the facts if the caller has folded them. With `contradicted_by` only facts of these
        topics conflict; None: any fact since `stream.version` does. Raises Conflict when the stream or a guard has
        moved; Unavailable, OutcomeUnknown, FactTooLarge.
        """
        accepted = await self._log.append(
            Append(
                stream_id=stream.stream_id,
                expected_version=stream.version,
                workspace_id=stream.workspace_id,
                project_id=stream.project_id,
                facts=facts,
                metadata=metadata,
                guards=guards,
                command_id=command_id,
                contradicted_by=contradicted_by,
            )
        )
        if isinstance(accepted, Repeated):
            if command_id is None:
                raise OutcomeUnknown("a command without an id was answered as a repeat")
            return accepted
        version = accepted.version - len(accepted.recorded)
        before = stream if stream.version == version else await self._catch_up(noun, stream, version)
        return fold(noun, before, accepted.recorded, state=state)

    async def _catch_up(self, noun: Noun[S], stream: Folded[S], version: int) -> Folded[S]:
        """Return the stream right before the appended facts: other facts may have been appended in between."""
        try:
            return await self._read_until(noun, stream.stream_id, stream, version) or stream
        except Unavailable as fault:
            raise OutcomeUnknown(f"the command was accepted, but its result cannot be read: {fault}") from fault

    async def _read_until(
        self, noun: Noun[S], stream_id: UUID, stream: Folded[S] | None, version: int
    ) -> Folded[S] | None:
        while (known := _version(stream)) < version:
            page = await self._log.read_stream(stream_id, after=known, limit=min(PAGE, version - known))
            if not page or not is_of_noun(noun, page[0]):
                return None
            stream = fold(noun, stream, page)
        return stream

    async def read_graph(self, workflow_id: UUID, version: int) -> Graph | None:
        """Return the graph of a workflow's version, None when there is none. Raises Unavailable."""
        return await read_graph(self._log, workflow_id, version)

    def keep(self, stream: Folded[object]) -> None:
        """Cache a folded stream, unless a newer version is cached."""
        key = stream.stream_id.int
        cached = self._cache.get(key)
        if cached is None or cached.version <= stream.version:
            self._cache.put(key, stream)

    def forget(self, stream_id: UUID) -> None:
        """Remove a stream from the cache that will not be used again soon."""
        self._cache.remove(stream_id.int)


def _version(stream: Folded[object] | None) -> int:
    return 0 if stream is None else stream.version


def _narrow(noun: Noun[S], stream: Folded[object]) -> Folded[S] | None:
    """Return the stream if it belongs to the noun: a caller may send the id of another noun's stream."""
    return cast("Folded[S]", stream) if type(stream.state) is type(noun.initial) else None


def is_of_noun(noun: Noun[S], recorded: Recorded) -> bool:
    """Return whether a fact is of a noun: ids of all nouns share one space, and a caller may mix them up."""
    tag = recorded.fact.__struct_config__.tag
    topic = tag if isinstance(tag, str) else ""
    return topic.startswith(f"{noun.name}.") or (noun.name == "run" and topic.startswith("step."))


async def read_graph(log: Log, workflow_id: UUID, version: int) -> Graph | None:
    """Return the graph of a workflow's version from the log, None when there is none. Raises Unavailable.

    A folded workflow holds its newest graph only.
    """
    after = 0
    while page := await log.read_stream(workflow_id, after=after, limit=PAGE):
        after = page[-1].version
        for recorded in page:
            if isinstance(recorded.fact, WorkflowCreated | WorkflowGraphRevised):
                found = get_new_graph(recorded.fact)
                if found is not None and found[0] == version:
                    return found[1]
    return None


class Sources:
    """Loads the data of a decision, each stream once; each loaded version guards the append.

    A stream that is loaded again is returned as it was the first time: a decision that used two versions of one stream
    would be guarded by the newer one only.
    """

    def __init__(
        self,
        streams: Streams,
        workspace_id: UUID,
        *,
        fresh: bool,
        prices: Mapping[str, Priced] = NO_PRICES,
        admit: Admit = admit_any,
    ) -> None:
        """Create the loader for one decision; `fresh` reads past the cache, for a second decision after a conflict.

        `prices` are those of models today, by the names that graphs use; a run pins what it needs of them.
        """
        self.prices = prices
        self._streams = streams
        self._workspace_id = workspace_id
        self._fresh = fresh
        self._admit = admit
        self._found: dict[int, Folded[object]] = {}  # by the stream's id as an integer, as in the cache

    async def load(self, noun: Noun[S], stream_id: UUID) -> Folded[S]:
        """Return a folded stream of the workspace and guard its version. Raises the noun's not-found refusal."""
        stream = await self.find(noun, stream_id)
        if stream is None:
            raise noun.not_found
        return stream

    async def compute(self, work: Callable[[], T], *, is_quick: bool) -> T:
        """Return what pure work of a decision returns; slow work must be picklable, and leaves the event loop.

        Raises what the work raises, WorkStopped.
        """
        workers = self._streams.workers
        if is_quick or workers is None:
            return work()
        return await workers.run(self._workspace_id, work)

    async def admit_run(self) -> None:
        """Admit one more run of the workspace; call it last. Raises TooManyRuns, Unavailable."""
        await self._admit(self._workspace_id)

    async def load_active_project(self, project_id: UUID) -> Folded[Project]:
        """Return a project in which something may begin or change. Raises ProjectNotFound, ProjectNotActive."""
        project = await self.load(PROJECT, project_id)
        if project.state.status is not ProjectStatus.ACTIVE:
            raise ProjectNotActive
        return project

    async def find(self, noun: Noun[S], stream_id: UUID) -> Folded[S] | None:
        """Return a folded stream of the workspace and guard its version, or None."""
        found = self._found.get(stream_id.int)
        if found is None:
            found = None if self._fresh else self._streams.find_cached(stream_id)
            if found is None:
                found = await self._streams.reload(noun, stream_id)
            if found is None or found.workspace_id != self._workspace_id:
                return None
        stream = _narrow(noun, found)
        if stream is not None:
            self._found[stream_id.int] = stream
        return stream

    async def load_unguarded(self, noun: Noun[S], stream_id: UUID) -> Folded[S]:
        """Return a folded stream without guarding it, for a decision that uses only immutable fields.

        Raises the noun's not-found refusal.
        """
        stream = await self._streams.reload(noun, stream_id)
        if stream is None or stream.workspace_id != self._workspace_id:
            raise noun.not_found
        return stream

    async def load_graph(self, workflow_id: UUID, version: int) -> Graph:
        """Return the graph of a version that a run is pinned to, which never changes. Raises WorkflowNotFound."""
        graph = await self._streams.read_graph(workflow_id, version)
        if graph is None:
            raise WorkflowNotFound
        return graph

    def guards(self, target: UUID) -> tuple[Guard, ...]:
        """Return the versions that the decision depends on, without the target's, which is the expected version."""
        return tuple([Guard(found.stream_id, found.version) for key, found in self._found.items() if key != target.int])
