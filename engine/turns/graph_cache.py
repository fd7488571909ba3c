"""The graphs of workflow versions, compiled once and kept within a bound."""

from uuid import UUID

from commands.repository import read_graph
from domain.graphs.compiled import CompiledGraph, compile_graph
from store.log.log import Log
from store.lru import LruCache


class GraphMissing(Exception):  # noqa: N818  # a broken log: `run.started` names a version that was never recorded
    """The workflow version that a run is pinned to is not in the log."""


class Graphs:
    """Gives the compiled graph of a workflow version, which never changes."""

    def __init__(self, log: Log, *, most_kept: int) -> None:
        """Make the cache, which forgets the graphs that were used least recently."""
        self._log = log
        self._kept = LruCache[tuple[UUID, int], CompiledGraph](most_kept)

    def known(self, workflow_id: UUID, version: int) -> CompiledGraph | None:
        """Give a graph that is kept."""
        return self._kept.get((workflow_id, version))

    async def load(self, workflow_id: UUID, version: int) -> CompiledGraph:
        """Read and compile a graph. Raises GraphMissing, Unavailable."""
        graph = await read_graph(self._log, workflow_id, version)
        if graph is None:
            raise GraphMissing(f"version {version} of workflow {workflow_id}")
        compiled = compile_graph(graph)
        self._kept.put((workflow_id, version), compiled)
        return compiled
