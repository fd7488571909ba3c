"""A cache of compiled workflow graphs."""

from uuid import UUID

from commands.repository import read_graph
from domain.graphs.compiled import CompiledGraph, compile_graph
from store.log.log import Log
from store.lru import LruCache


class GraphMissing(Exception):  # noqa: N818  # a broken log: `run.started` names a version that was never recorded
    """The workflow version that a run is pinned to is not in the log."""


class GraphCache:
    """The compiled graphs of workflow versions. A version never changes, so entries never expire."""

    def __init__(self, log: Log, *, max_entries: int) -> None:
        """Create an empty cache."""
        self._log = log
        self._graphs = LruCache[tuple[UUID, int], CompiledGraph](max_entries)

    def get(self, workflow_id: UUID, version: int) -> CompiledGraph | None:
        """Return a cached graph, or None."""
        return self._graphs.get((workflow_id, version))

    async def load(self, workflow_id: UUID, version: int) -> CompiledGraph:
        """Return a graph, read and compiled unless it is cached. Raises GraphMissing, Unavailable."""
        cached = self.get(workflow_id, version)
        if cached is not None:
            return cached
        graph = await read_graph(self._log, workflow_id, version)
        if graph is None:
            raise GraphMissing(f"version {version} of workflow {workflow_id}")
        compiled = compile_graph(graph)
        self._graphs.put((workflow_id, version), compiled)
        return compiled
