"""A cache of compiled workflow graphs."""

from dataclasses import replace
from typing import Final
from uuid import UUID

from commands.repository import read_graph
from domain.graphs.compiled import CompiledGraph, compile_graph
from store.log.json_encoding import encode, weigh_json
from store.log.log import Log
from store.lru import WeighedLruCache
from store.settings import MIB

GRAPH_BYTES: Final = 32 * MIB


class GraphMissing(Exception):  # noqa: N818  # a broken log: `run.started` names a version that was never recorded
    """The workflow version that a run is pinned to is not in the log."""


class GraphCache:
    """The compiled graphs of workflow versions. A version never changes, so entries never expire."""

    def __init__(self, log: Log, *, max_entries: int, max_bytes: int = GRAPH_BYTES) -> None:
        """Create an empty cache."""
        self._log = log
        self._graphs = WeighedLruCache[tuple[UUID, int], CompiledGraph](
            max_entries, max_bytes=max_bytes, weigh=_weigh_graph
        )

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
        compiled = replace(compile_graph(graph), weight=2 * weigh_json(encode(graph)))
        self._graphs.put((workflow_id, version), compiled)
        return compiled


def _weigh_graph(graph: CompiledGraph) -> int:
    return graph.weight
