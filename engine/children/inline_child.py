"""Children whose steps are all immediate: begun and ended in one append, with nobody to pick them up in between.

Nothing of it is in the log before: should it end its engine, the next one must not do the same (see `only_begun`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from random import Random

from commands.runs.turn import Turn
from domain.folded import Folded
from domain.graphs.compiled import CompiledGraph
from domain.runs.facts import RunStarted
from domain.runs.run import Run, evolve
from engine.cluster.owner import Owner
from engine.executors import Executors, is_immediate
from engine.failpoints import FailPoint
from engine.steps.contract import Result, StepCall
from engine.steps.run_data import RunData
from engine.turns.graph_cache import Graphs
from engine.turns.schedule import due_first
from engine.turns.step_counts import StepTally
from engine.turns.turn_builder import Progress
from store.failpoint import FailPointHook, noop


def only_begun(child: Folded[Run], started: RunStarted) -> Turn:
    """Give the start of a child, which is then driven like any run: its steps are claimed before they are done."""
    turn = Turn(evolve(child.state, started), started.started_at)
    turn.facts.append(started)
    return turn


@dataclass(frozen=True, slots=True, kw_only=True)
class AtOnce:
    """Makes the first turn of a child. `owner` claims the steps that are done within it."""

    graphs: Graphs
    executors: Executors
    owner: Owner
    clock: Callable[[], datetime]
    random: Random
    tally: StepTally = field(default_factory=StepTally)
    failpoint: FailPointHook = noop

    def appended(self, started: RunStarted, turn: Turn) -> None:
        """Count what a turn that was made here came to, now that it stands in the log."""
        graph = self.graphs.known(started.workflow_id, started.workflow_version)
        if graph is not None:
            self.tally.took(graph, turn.facts)

    async def turn(self, child: Folded[Run], started: RunStarted, inputs: object, traceparent: str | None) -> Turn:
        """Give the whole run where its first steps are all of it and immediate, else only its start.

        Raises GraphMissing, Unavailable.
        """
        pinned = started.workflow_id, started.workflow_version
        graph = self.graphs.known(*pinned) or await self.graphs.load(*pinned)
        turn = only_begun(child, started)
        if graph.edges or not all(is_immediate(node) for node in graph.nodes.values()):
            return turn
        whole = self._whole(child, turn, graph, inputs, traceparent)
        return only_begun(child, started) if whole is None else whole

    def _whole(
        self, child: Folded[Run], turn: Turn, graph: CompiledGraph, inputs: object, traceparent: str | None
    ) -> Turn | None:
        data = RunData(inputs)
        progress = Progress(turn=turn, graph=graph, data=data, owner=self.owner, random=self.random, started=[])
        progress.carry_on(due_first(graph))
        done: list[tuple[str, Result]] = []
        for node in progress.started:
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
            self.failpoint(FailPoint.INLINE)
            result = self.executors.execute_inline(call)
            if result is None:
                return None
            done.append((node, result))
        progress.onward(progress.settle(done))
        return turn if turn.run.ended else None
