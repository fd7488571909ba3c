"""Counts of step outcomes for the metrics, as this engine has recorded them."""

from collections.abc import Iterable
from typing import Final

from domain.fact import Fact
from domain.graphs.compiled import CompiledGraph
from domain.graphs.graph import get_node_kind
from domain.runs.facts import StepCompleted, StepFailed, StepSkipped, StepWaiting

OUTCOMES: Final[dict[type[Fact], str]] = {
    StepCompleted: "completed",
    StepFailed: "failed",
    StepSkipped: "skipped",
    StepWaiting: "waiting",
}


class StepCounts:
    """Counts by step kind and outcome. Every turn calls it, so it does little."""

    def __init__(self) -> None:
        """Start at zero."""
        self.counts: dict[tuple[str, str], int] = {}

    def add(self, graph: CompiledGraph, facts: Iterable[Fact]) -> None:
        """Count facts that have been appended to a run."""
        for fact in facts:
            outcome = OUTCOMES.get(type(fact))
            if outcome is not None:
                self._count(graph, fact, outcome)

    def _count(self, graph: CompiledGraph, fact: Fact, outcome: str) -> None:
        node = graph.nodes.get(getattr(fact, "node", ""))
        if isinstance(fact, StepFailed) and fact.retry_at is not None:
            outcome = "retried"
        key = "unknown" if node is None else get_node_kind(node), outcome
        self.counts[key] = self.counts.get(key, 0) + 1
