"""Children whose steps are all inline: started and ended in one append, so that no engine has to drive them.

Nothing is in the log before that. If such a child kills its engine, the next engine must not repeat it: it only starts
the child (see `StepChildren`), which is then driven like any run, claiming each step before it executes it.
"""

from uuid import UUID

from commands.runs.turn import Turn
from domain.folded import Folded
from domain.graphs.compiled import CompiledGraph
from domain.runs.run import Run
from engine.executors import is_inline
from engine.failpoints import FailPoint
from engine.steps.contract import Result, StepCall
from engine.steps.run_data import RunData, describe_run
from engine.turns.context import EngineContext
from engine.turns.schedule import find_due_at_start
from engine.turns.turn_builder import TurnBuilder


async def load_inline_graph(context: EngineContext, workflow_id: UUID, version: int) -> CompiledGraph | None:
    """Return the graph of a workflow whose steps are all inline and independent of each other, else None.

    Raises GraphMissing, Unavailable.
    """
    graph = context.graphs.get(workflow_id, version)
    if graph is None:
        graph = await context.graphs.load(workflow_id, version)
    if graph.edges or not all(is_inline(node) for node in graph.nodes.values()):
        return None
    return graph


def run_to_end(
    context: EngineContext,
    child: Folded[Run],
    start: Turn,
    graph: CompiledGraph,
    inputs: object,
    traceparent: str | None,
) -> Turn | None:
    """Return a turn that starts and ends a child, from the turn that starts it; None if a step cannot run inline."""
    turn = Turn(start.run, start.now)
    turn.facts.extend(start.facts)
    data = RunData(inputs, describe_run(child.stream_id, turn.run, context.public_url))
    builder = TurnBuilder(turn=turn, graph=graph, data=data, owner=context.owner, random=context.random, started=[])
    builder.schedule(find_due_at_start(graph))
    results: list[tuple[str, Result]] = []
    for node in builder.started:
        call = StepCall(
            workspace_id=child.workspace_id,
            run_id=child.stream_id,
            run=turn.run,
            graph=graph,
            node=graph.nodes[node],
            attempt=1,
            data=data,
            traceparent=traceparent,
        )
        context.failpoint(FailPoint.INLINE)
        result = context.executors.execute_inline(call)
        if result is None:
            return None
        results.append((node, result))
    builder.schedule_after(builder.settle(results))
    return turn if turn.run.has_ended else None
