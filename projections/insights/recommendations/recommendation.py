"""A recommendation, what rules judge, and the thresholds of all of them in one place."""

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
    """How much a recommendation matters."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


class Recommendation(Struct, frozen=True, kw_only=True):
    """What a rule found, with the figures that it rests on: a person can check it, and a program act on the code."""

    code: str
    severity: Severity
    title: str
    detail: str
    evidence: Mapping[str, object]
    workflow_id: UUID
    node_id: str
    suggested_action: str


class Thresholds(Struct, frozen=True, kw_only=True):
    """From what on a rule speaks; below its sample it is silent, whatever the share."""

    failing_sample: int = 20
    failing_share: float = 0.1
    failing_share_critical: float = 0.3
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


class Seen(Struct, frozen=True, kw_only=True):
    """What rules judge: the figures of a window, and the newest graph of each workflow with its version."""

    figures: Figures
    graphs: Mapping[UUID, tuple[int, Graph]] = {}

    def steps(self) -> Iterator[tuple[UUID, str, StepFigures]]:
        """Give every step, with the workflow that it is of."""
        for workflow_id, workflow in self.figures.workflows.items():
            for node_id, step in workflow.steps.items():
                yield workflow_id, node_id, step

    def node(self, workflow_id: UUID, node_id: str) -> Node | None:
        """Give a node as the newest graph has it; None where it has none of that id."""
        _, graph = self.graphs.get(workflow_id, (0, Graph(nodes=())))
        return next((node for node in graph.nodes if node.id == node_id), None)


Rule = Callable[[Seen, Thresholds], Iterator[Recommendation]]
"""Looks through what there is to see, and says what it finds; pure."""


def share(part: int, whole: int) -> float:
    """Give a share; 0 of nothing."""
    return part / whole if whole else 0.0


def percent(part: float) -> str:
    """Write a share for people."""
    return f"{part * 100:.0f} %"


def lasting(us: float) -> str:
    """Write a duration for people."""
    for unit, length in (("d", 86_400e6), ("h", 3_600e6), ("min", 60e6), ("s", 1e6)):
        if us >= length:
            return f"{us / length:.1f} {unit}"
    return f"{us / 1_000:.1f} ms"


def most(tally: Mapping[str, int]) -> str:
    """Give the most frequent of what was counted, the first by name of several."""
    return min(tally, key=lambda name: (-tally[name], name), default="unknown")
