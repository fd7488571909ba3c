"""A cache of run timelines for one projection; a run that is not cached is folded again from its stream.

So a projection stores no state of its own per run, and a run that begins and ends while it is cached writes no row.
Skipped and unreadable facts are ignored, as they were when they first came.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Final
from uuid import UUID

from domain.graphs.graph import Graph, MapNode, Node, PromptNode, get_node_kind
from domain.graphs.stored import read_stored_graph
from domain.ids import to_uuid
from domain.runs.facts import RunRetried, RunStarted
from domain.workflow import WorkflowCreated, WorkflowGraphRevised
from projections.runtime.folding import BYTES_REMEMBERED, by_stream
from projections.runtime.projection import Cursor
from projections.runtime.skips import load_skips
from projections.timelines.run_timeline import NO_NODES, NodeInfo, Nodes, RunTimeline
from store.log.readers import read_stream_beginnings
from store.log.records import Recorded
from store.lru import WeighedLruCache

STREAMS_PER_READ: Final = 200
GRAPHS_MAX: Final = 1_000
BYTES_PER_TIMELINE: Final = 1_024
BYTES_PER_STEP: Final = 768
BYTES_PER_NODE: Final = 256
ANY_VERSION: Final = 2**62
"""A version that no stream reaches."""

Key = tuple[UUID, int]


class RunTimelineCache:
    """Timelines of runs and graphs of workflows; the least recently used are evicted."""

    def __init__(self, projection: str, *, most_remembered: int, bytes_remembered: int = BYTES_REMEMBERED) -> None:
        """Create an empty cache of `most_remembered` runs for the projection of that name."""
        self._projection = projection
        self._runs = WeighedLruCache[int, RunTimeline](  # by the id as an integer: a UUID's hash is slow
            most_remembered, max_bytes=bytes_remembered // 2, weigh=_weigh_timeline
        )
        self._graphs = WeighedLruCache[Key, Nodes](GRAPHS_MAX, max_bytes=bytes_remembered // 2, weigh=_weigh_nodes)
        self._changed: set[int] = set()

    def forget(self) -> None:
        """Remove every run. Graphs stay: they never change."""
        self._runs.clear()

    def trim(self) -> None:
        """Evict what exceeds the bounds; called after each batch."""
        for key in self._changed:
            if key in self._runs:
                self._runs.put_unbounded(key, self._runs[key])
        self._changed.clear()
        self._runs.trim()
        self._graphs.trim()

    async def prepare(self, cursor: Cursor, facts: Sequence[Recorded]) -> list[tuple[RunTimeline, list[Recorded]]]:
        """Return, for each run of these facts, its timeline as it was before them and its facts in order."""
        streams = by_stream(facts)
        missing = {
            events[0].stream_id: events[0].version
            for key, events in streams.items()
            if not self._is_cached(key, events[0])
        }
        earlier = [
            event for batch in _split_into_batches(missing.items()) for event in await self._read_before(cursor, batch)
        ]
        await self._ensure_graphs(cursor, chain(earlier, facts))
        for event in earlier:
            self.apply(self._runs[event.stream_id.int], event)
        for stream_id, version in missing.items():
            self._runs[stream_id.int].version = version - 1
        self._changed.update(streams)
        return [(self._runs[key], events) for key, events in streams.items()]

    def _is_cached(self, key: int, first: Recorded) -> bool:
        """Return whether the cached timeline reaches up to a fact; else put an empty one there to be read."""
        known = self._runs.get(key)
        if known is not None and known.version >= first.version - 1:
            return True
        timeline = RunTimeline(
            id=first.stream_id, workspace_id=first.workspace_id, project_id=first.project_id or first.stream_id
        )
        self._runs.put_unbounded(key, timeline)
        return first.version == 1

    def apply(self, timeline: RunTimeline, event: Recorded) -> None:
        """Fold the next fact, with the graph that it starts to run."""
        fact = event.fact
        timeline.apply(fact)
        timeline.version = event.version
        if type(fact) is RunStarted or type(fact) is RunRetried:
            timeline.nodes = self._graphs[timeline.workflow_id, timeline.workflow_version]

    async def _ensure_graphs(self, cursor: Cursor, facts: Iterable[Recorded]) -> None:
        """Cache the graphs that these facts start to run; one that is not in the log has no nodes."""
        started: dict[UUID, UUID] = {}
        wanted: dict[Key, None] = {}
        for event in facts:
            fact = event.fact
            if type(fact) is RunStarted:
                started[event.stream_id] = workflow = fact.workflow_id
            elif type(fact) is RunRetried:
                workflow = started.get(event.stream_id) or self._runs[event.stream_id.int].workflow_id
            else:
                continue
            key = workflow, fact.workflow_version
            if self._graphs.get(key) is None:
                wanted[key] = None
        await self._load_graphs(cursor, wanted)

    async def _load_graphs(self, cursor: Cursor, wanted: Iterable[Key]) -> None:
        workflows = dict.fromkeys(workflow for workflow, _ in wanted)
        for batch in _split_into_batches((workflow, ANY_VERSION) for workflow in workflows):
            for event in await self._read_before(cursor, batch):
                if isinstance(event.fact, WorkflowCreated):
                    self._graphs.put_unbounded(
                        (event.stream_id, 1), _collect_nodes(read_stored_graph(event.fact.graph))
                    )
                elif isinstance(event.fact, WorkflowGraphRevised):
                    self._graphs.put_unbounded(
                        (event.stream_id, event.fact.version), _collect_nodes(read_stored_graph(event.fact.graph))
                    )
        for key in wanted:
            if key not in self._graphs:
                self._graphs.put_unbounded(key, NO_NODES)

    async def _read_before(self, cursor: Cursor, streams: Sequence[Key]) -> list[Recorded]:
        """Read streams, each before a version. Unreadable and skipped facts are of kinds that no timeline folds."""
        skips = await load_skips(cursor.connection, self._projection)
        return skips.apply(await read_stream_beginnings(cursor, streams))


def _weigh_timeline(timeline: RunTimeline) -> int:
    return BYTES_PER_TIMELINE + BYTES_PER_STEP * len(timeline.steps)


def _weigh_nodes(nodes: Nodes) -> int:
    return BYTES_PER_TIMELINE + BYTES_PER_NODE * len(nodes)


def _collect_nodes(graph: Graph) -> Nodes:
    return {node.id: NodeInfo(get_node_kind(node), _find_asset_id(node)) for node in graph.nodes}


def _find_asset_id(node: Node) -> UUID | None:
    match node:
        case PromptNode(config=config):
            return None if config.asset_id is None else to_uuid("ast", config.asset_id)
        case MapNode(config=config):
            return None if config.dataset_id is None else to_uuid("ast", config.dataset_id)
        case _:
            return None


def _split_into_batches(items: Iterable[Key]) -> Iterator[list[Key]]:
    iterator = iter(items)
    while batch := list(islice(iterator, STREAMS_PER_READ)):
        yield batch
