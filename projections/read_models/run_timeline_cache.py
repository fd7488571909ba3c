"""The courses of runs that a projection remembers; one that it does not is folded again from the run's own stream.

So no projection has to write down how far each run has come: the log knows, and a run that begins and ends within the
memory costs no row. What was skipped or cannot be read is left out, as it was when it came.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Final
from uuid import UUID

from domain.graphs.graph import Graph, MapNode, Node, PromptNode, get_node_kind
from domain.ids import to_uuid
from domain.runs.facts import RunRetried, RunStarted
from domain.workflow import WorkflowCreated, WorkflowGraphRevised
from projections.read_models.run_timeline import NO_NODES, Nodes, NodeSeen, RunCourse
from projections.runtime.folding import by_stream
from projections.runtime.projection import Cursor
from projections.runtime.skips import skips_of
from store.log.readers import read_stream_beginnings
from store.log.records import Recorded
from store.lru import LruCache

STREAMS_AT_A_TIME: Final = 200
GRAPHS_REMEMBERED: Final = 1_000
WHOLE: Final = 2**62
"""A version that no stream comes to."""

Key = tuple[UUID, int]


class CourseMemory:
    """Courses of runs and graphs of workflows, bounded: what was used longest ago goes first."""

    def __init__(self, projection: str, *, most_remembered: int) -> None:
        """Remember so many runs, at most, for a projection by its name."""
        self._projection = projection
        self._runs = LruCache[int, RunCourse](most_remembered)  # by the id as an integer: a UUID's hash is slow
        self._graphs = LruCache[Key, Nodes](GRAPHS_REMEMBERED)

    def forget(self) -> None:
        """Remember no run; what graphs say never changes."""
        self._runs.clear()

    def trim(self) -> None:
        """Let go what is over the bound."""
        self._runs.trim()
        self._graphs.trim()

    async def prepare(self, cursor: Cursor, facts: Sequence[Recorded]) -> list[tuple[RunCourse, list[Recorded]]]:
        """Give the course of each run that these facts are of, as it was before them, and its facts in order."""
        streams = by_stream(facts)
        missing = {its[0].stream_id: its[0].version for key, its in streams.items() if not self._knows(key, its[0])}
        earlier = [one for some in _slices(missing.items()) for one in await self._before(cursor, some)]
        await self._prepare_graphs(cursor, chain(earlier, facts))
        for one in earlier:
            self.take(self._runs[one.stream_id.int], one)
        for stream_id, version in missing.items():
            self._runs[stream_id.int].version = version - 1
        return [(self._runs[key], its) for key, its in streams.items()]

    def _knows(self, key: int, first: Recorded) -> bool:
        """Tell whether a course is here to fold a fact onto; where it ends too early the run is to be read again."""
        known = self._runs.get(key)
        if known is not None and known.version >= first.version - 1:
            return True
        course = RunCourse(
            id=first.stream_id, workspace_id=first.workspace_id, project_id=first.project_id or first.stream_id
        )
        self._runs.put_unbounded(key, course)
        return first.version == 1

    def take(self, course: RunCourse, one: Recorded) -> None:
        """Fold one more fact."""
        fact = one.fact
        course.take(fact)
        course.version = one.version
        if type(fact) is RunStarted or type(fact) is RunRetried:
            course.nodes = self._graphs[course.workflow_id, course.workflow_version]

    async def _prepare_graphs(self, cursor: Cursor, facts: Iterable[Recorded]) -> None:
        """Have the graphs that these facts begin to run; one that is not in the log has no nodes."""
        started: dict[UUID, UUID] = {}
        wanted: dict[Key, None] = {}
        for one in facts:
            fact = one.fact
            if type(fact) is RunStarted:
                started[one.stream_id] = workflow = fact.workflow_id
            elif type(fact) is RunRetried:
                workflow = started.get(one.stream_id) or self._runs[one.stream_id.int].workflow_id
            else:
                continue
            key = workflow, fact.workflow_version
            if self._graphs.get(key) is None:
                wanted[key] = None
        await self._load_graphs(cursor, wanted)

    async def _load_graphs(self, cursor: Cursor, wanted: Iterable[Key]) -> None:
        for some in _slices((workflow, WHOLE) for workflow in dict.fromkeys(workflow for workflow, _ in wanted)):
            for one in await self._before(cursor, some):
                if isinstance(one.fact, WorkflowCreated):
                    self._graphs.put_unbounded((one.stream_id, 1), _nodes(one.fact.graph))
                elif isinstance(one.fact, WorkflowGraphRevised):
                    self._graphs.put_unbounded((one.stream_id, one.fact.version), _nodes(one.fact.graph))
        for key in wanted:
            if key not in self._graphs:
                self._graphs.put_unbounded(key, NO_NODES)

    async def _before(self, cursor: Cursor, streams: Sequence[Key]) -> list[Recorded]:
        """Read streams up to a version each; what cannot be read or is skipped is a fact of a kind that is ignored."""
        skips = await skips_of(cursor.connection, self._projection)
        return skips.without(await read_stream_beginnings(cursor, streams))


def _nodes(graph: Graph) -> Nodes:
    return {node.id: NodeSeen(get_node_kind(node), _asset(node)) for node in graph.nodes}


def _asset(node: Node) -> UUID | None:
    match node:
        case PromptNode(config=config):
            return None if config.asset_id is None else to_uuid("ast", config.asset_id)
        case MapNode(config=config):
            return None if config.dataset_id is None else to_uuid("ast", config.dataset_id)
        case _:
            return None


def _slices(items: Iterable[Key]) -> Iterator[list[Key]]:
    iterator = iter(items)
    while some := list(islice(iterator, STREAMS_AT_A_TIME)):
        yield some
