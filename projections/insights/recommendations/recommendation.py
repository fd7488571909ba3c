"""The recommendation, the input of the rules, and the thresholds of all rules."""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from msgspec import Struct

from domain.graphs.graph import Graph, Node
from projections.insights.figures import Figures, StepFigures

MICROSECOND: Final = timedelta(microseconds=1)


class Severity(StrEnum):
    """Severity of a recommendation."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


class Recommendation(Struct, frozen=True, kw_only=True):
    """The finding of a rule, with the figures that support it; programs can act on the code."""

    code: str
    severity: Severity
    title: str
    detail: str
    evidence: Mapping[str, object]
    workflow_id: UUID
    node_id: str
    suggested_action: str


class Thresholds(Struct, frozen=True, kw_only=True):
    """The limits from which rules report; below its sample size a rule never reports."""

    failing_sample: int = 20
    failing_share: float = 0.1
    failing_share_critical: float = 0.3
    cut_sample: int = 20
    cut_share: float = 0.05
    flaky_sample: int = 20
    flaky_share: float = 0.1
    slow_sample: int = 20
    slow_factor: float = 1.5
    slow_least: timedelta = timedelta(milliseconds=500)
    cost_sample: int = 20
    cost_share: float = 0.5
    cost_least_pico: int = 10**12
    human_sample: int = 10
    human_wait: timedelta = timedelta(hours=1)
    human_share: float = 0.5
    unused_sample: int = 50
    regression_sample: int = 20
    regression_share: float = 0.1
    regression_deviations: float = 2.58


class RuleInput(Struct, frozen=True, kw_only=True):
    """The input of the rules: the figures of a window, and the newest graph of each workflow with its version."""

    figures: Figures
    graphs: Mapping[UUID, tuple[int, Graph]] = {}

    def steps(self) -> Iterator[tuple[UUID, str, StepFigures]]:
        """Yield every step with its workflow and node."""
        for workflow_id, workflow in self.figures.workflows.items():
            for node_id, step in workflow.steps.items():
                yield workflow_id, node_id, step

    def node(self, workflow_id: UUID, node_id: str) -> Node | None:
        """Return a node of the newest graph, or None."""
        _, graph = self.graphs.get(workflow_id, (0, Graph(nodes=())))
        return next((node for node in graph.nodes if node.id == node_id), None)


Rule = Callable[[RuleInput, Thresholds], Iterator[Recommendation]]
"""Yields the recommendations for some insights; pure."""


def share(part: int, whole: int) -> float:
    """Return part / whole, or 0 if the whole is 0."""
    return part / whole if whole else 0.0


def percent(part: float) -> str:
    """Format a share as a percentage."""
    return f"{part * 100:.0f} %"


def lasting(us: float) -> str:
    """Format a duration in microseconds for people."""
    for unit, length in (("d", 86_400e6), ("h", 3_600e6), ("min", 60e6), ("s", 1e6)):
        if us >= length:
            return f"{us / length:.1f} {unit}"
    return f"{us / 1_000:.1f} ms"


def most(tally: Mapping[str, int]) -> str:
    """Return the most frequent key; of several the first by name."""
    return min(tally, key=lambda name: (-tally[name], name), default="unknown")
