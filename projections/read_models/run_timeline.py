"""The course of a run: when it and its steps began, waited and ended, and what they took, without any contents.

It is folded in place: a copy a fact, as the domain's fold makes, would cost more than all the rest.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from msgspec import Struct

from domain.fact import Fact
from domain.runs.facts import (
    AnswerRejected,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunRetried,
    RunStarted,
    StepCompleted,
    StepDecided,
    StepFailed,
    StepResultRefused,
    StepReused,
    StepSkipped,
    StepStarted,
    StepWaiting,
    Usage,
    WaitFor,
)
from domain.runs.run import NO_ID
from domain.runs.steps import SETTLED, StepStatus

# To look a member of an enum up by its name takes 70 ns, and these two are given to nearly every step.
RUNNING: Final = StepStatus.RUNNING
COMPLETED: Final = StepStatus.COMPLETED


class Spent(Struct, kw_only=True, gc=False):
    """What calls of models took; costs are in millionths of a millionth of a USD (pico-USD)."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_pico: int = 0
    unpriced: int = 0

    def add(self, usage: Usage) -> None:
        """Add one call."""
        self.calls += 1
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens
        if usage.cost_usd is None:
            self.unpriced += 1
        else:
            self.cost_pico += pico_of(usage.cost_usd)


class NodeSeen(Struct, frozen=True, gc=False):
    """What is to be known of a node: its kind, and the prompt or dataset that it uses."""

    kind: str
    asset_id: UUID | None


UNSEEN: Final = NodeSeen("", None)
"""What is known of a node that the run's graph does not have."""

Nodes = Mapping[str, NodeSeen]
NO_NODES: Final[Nodes] = {}


class StepCourse(Struct, kw_only=True, gc=False):
    """How far one step has come, and with which versions; `spent` is of all its attempts."""

    status: StepStatus
    workflow_version: int
    kind: str
    asset_id: UUID | None
    asset_version: int
    attempt: int = 0
    first_started_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    waiting_for: WaitFor | None = None
    waiting_since: datetime | None = None
    decided_at: datetime | None = None
    model: str | None = None
    spent: Spent | None = None
    error_class: str | None = None


class RunCourse(Struct, kw_only=True, gc=False):
    """How far a run has come. `began_at` is when its present attempt was asked for, `picked_up_at` when a step began.

    `nodes` are those of the graph that it runs.
    """

    id: UUID
    workspace_id: UUID
    project_id: UUID
    version: int = 0
    workflow_id: UUID = NO_ID
    workflow_version: int = 0
    assets: Mapping[UUID, int] = {}
    nodes: Nodes = NO_NODES
    child: bool = False
    began_at: datetime | None = None
    picked_up_at: datetime | None = None
    steps: dict[str, StepCourse] = {}

    def take(self, fact: Fact) -> None:
        """Fold one more fact. Takes any history, as `domain.run.evolve` does; what is of no run changes nothing."""
        # What nearly every fact is, first: each kind that is asked for before the right one costs 40 ns.
        if type(fact) is StepStarted:
            self._started(fact)
        elif type(fact) is StepCompleted:
            step = self.steps.get(fact.node) or self._step(fact.node, fact.attempt)
            step.status, step.ended_at = COMPLETED, fact.completed_at
            if fact.usage is not None:
                _used(step, fact.usage)
        elif type(fact) is RunStarted:
            self._begun(fact)
        elif type(fact) is RunRetried:
            self._retried(fact)
        elif type(fact) is not RunCompleted:
            self._take_rare(fact)

    def _take_rare(self, fact: Fact) -> None:
        match fact:
            case StepFailed():
                step = self._step(fact.node, fact.attempt)
                step.status = StepStatus.FAILED if fact.retry_at is None else StepStatus.RETRYING
                step.ended_at, step.error_class = fact.failed_at, fact.error.error_class.value
                _used(step, fact.usage)
            case RunFailed() | RunCancelled():
                self._closed()
            case StepSkipped():
                self._new(fact.node, StepStatus.SKIPPED)
            case StepWaiting():
                step = self._step(fact.node, fact.attempt)
                step.status, step.waiting_for = StepStatus.WAITING, fact.waiting_for
                step.waiting_since, step.decided_at = fact.waiting_since, None
            case StepDecided():
                step = self._step(fact.node, 1)
                step.status, step.decided_at = StepStatus.DECIDED, fact.decided_at
            case AnswerRejected():
                _used(self._step(fact.node, fact.attempt), fact.usage)
            case StepResultRefused():
                if fact.node in self.steps:
                    _used(self.steps[fact.node], fact.usage)
            case StepReused(node=node, reused_at=at):
                step = self._new(node, StepStatus.COMPLETED)
                step.started_at = step.ended_at = at
            case _:
                pass

    def asset_of(self, node: str) -> tuple[UUID | None, int]:
        """Give the asset that a node uses and the version that the run has pinned; None and 0 where it uses none."""
        seen = self.nodes.get(node, UNSEEN)
        return seen.asset_id, self._pinned(seen)

    def _pinned(self, seen: NodeSeen) -> int:
        return 0 if seen.asset_id is None else self.assets.get(seen.asset_id, 0)

    def _step(self, node: str, attempt: int) -> StepCourse:
        step = self.steps.get(node)
        if step is None:
            step = self._new(node, RUNNING)
            step.attempt = attempt
        return step

    def _new(self, node: str, status: StepStatus) -> StepCourse:
        seen = self.nodes.get(node, UNSEEN)
        step = self.steps[node] = StepCourse(
            status=status,
            workflow_version=self.workflow_version,
            kind=seen.kind,
            asset_id=seen.asset_id,
            asset_version=self._pinned(seen),
        )
        return step

    def _started(self, fact: StepStarted) -> None:
        step = self.steps.get(fact.node)
        if step is None:
            step = self._new(fact.node, RUNNING)
            step.first_started_at = fact.started_at
        else:
            step.status, step.ended_at = RUNNING, None
            step.first_started_at = step.first_started_at or fact.started_at
            step.waiting_for = step.waiting_since = step.decided_at = step.error_class = None
        step.attempt, step.started_at = fact.attempt, fact.started_at
        self.picked_up_at = self.picked_up_at or fact.started_at

    def _begun(self, fact: RunStarted) -> None:
        self.workflow_id, self.workflow_version = fact.workflow_id, fact.workflow_version
        self.assets, self.child = fact.pins.assets, fact.parent is not None
        self.began_at, self.picked_up_at = fact.started_at, None
        self.steps = {}

    def _retried(self, fact: RunRetried) -> None:
        self.workflow_version = fact.workflow_version
        if fact.pins is not None:
            self.assets = fact.pins.assets
        self.began_at, self.picked_up_at = fact.retried_at, None
        on_with = (*fact.kept, *fact.outputs_kept)
        self.steps = {node: step for node, step in self.steps.items() if node in on_with}
        for node in fact.outputs_kept:
            if (step := self.steps.get(node)) is not None:
                step.status, step.started_at, step.ended_at = StepStatus.GIVEN, fact.retried_at, None
                step.error_class = None

    def _closed(self) -> None:
        for step in self.steps.values():
            if step.status not in SETTLED:
                step.status = StepStatus.CANCELLED


def pico_of(cost_usd: str) -> int:
    """Give a cost in pico-USD. Raises ArithmeticError or ValueError for what is no number."""
    return int(Decimal(cost_usd).scaleb(12).to_integral_value())


def usd_of(pico: int) -> str:
    """Write a cost in full: no exponent, no zeros at the end."""
    text = f"{Decimal(pico).scaleb(-12):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _used(step: StepCourse, usage: Usage | None) -> None:
    if usage is None:
        return
    step.model = usage.model
    if step.spent is None:
        step.spent = Spent()
    step.spent.add(usage)
