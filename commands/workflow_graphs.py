"""The graph of a workflow's version, read from the log: the folded workflow holds its newest only."""

from typing import Final
from uuid import UUID

from domain.graphs.graph import Graph
from domain.workflow import WorkflowCreated, WorkflowGraphRevised, graph_of
from store.log.log import Log

PAGE: Final = 1_000


async def graph_of_version(log: Log, workflow_id: UUID, version: int) -> Graph | None:
    """Give a graph; None when the log has no such version. Raises Unavailable."""
    after = 0
    while page := await log.read_stream(workflow_id, after=after, limit=PAGE):
        for one in page:
            after = one.version
            if not isinstance(one.fact, WorkflowCreated | WorkflowGraphRevised):
                continue
            brought = graph_of(one.fact)
            if brought is not None and brought[0] == version:
                return brought[1]
    return None
