"""The timeline of a run: when the run and its steps began, waited and ended, and their usage, without any contents.

It is folded in place: the copy per fact that the domain's fold makes would cost more than all the rest.
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

# Looking up an enum member by name takes 70 ns, and nearly every step gets these two.
RUNNING: Final = StepStatus.RUNNING
COMPLETED: Final = StepStatus.COMPLETED


class UsageTotals(Struct, kw_only=True, gc=False):
    """The usage of model calls. Costs are in pico-USD (10^-12 USD); `unpriced` counts calls without a known price."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_pico: int = 0
    unpriced: int = 0

    def add(self, usage: Usage) -> None:
        """Add the usage of one call."""
        self.calls += 1
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens
        if usage.cost_usd is None:
            self.unpriced += 1
        else:
            self.cost_pico += parse_usd_as_pico(usage.cost_usd)


class NodeInfo(Struct, frozen=True, gc=False):
    """The kind of a node, and the prompt or dataset that it uses."""

    kind: str
    asset_id: UUID | None


UNKNOWN_NODE: Final = NodeInfo("", None)
"""Used for a node that the run's graph does not have."""

Nodes = Mapping[str, NodeInfo]
NO_NODES: Final[Nodes] = {}


class StepTimeline(Struct, kw_only=True, gc=False):
    """The state and times of one step, and the versions that it used; `spent` is the usage of all its attempts."""

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
    spent: UsageTotals | None = None
    error_class: str | None = None


class RunTimeline(Struct, kw_only=True, gc=False):
    """The state and times of a run and its steps.

    `began_at` is when the current attempt was requested, `picked_up_at` when its first step began; `nodes` are those of
    its graph.
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
    steps: dict[str, StepTimeline] = {}

    def apply(self, fact: Fact) -> None:
        """Fold the next fact. Any history is accepted, as by `domain.run.evolve`; facts of other nouns are ignored."""
        # The most frequent kinds first: each comparison before the right one costs 40 ns.
        if type(fact) is StepStarted:
            self._apply_step_started(fact)
        elif type(fact) is StepCompleted:
            step = self.steps.get(fact.node) or self._get_or_add_step(fact.node, fact.attempt)
            step.status, step.ended_at = COMPLETED, fact.completed_at
            if fact.usage is not None:
                _add_usage(step, fact.usage)
        elif type(fact) is RunStarted:
            self._apply_run_started(fact)
        elif type(fact) is RunRetried:
            self._apply_run_retried(fact)
        elif type(fact) is not RunCompleted:
            self._apply_rare(fact)

    def _apply_rare(self, fact: Fact) -> None:
        match fact:
            case StepFailed():
                step = self._get_or_add_step(fact.node, fact.attempt)
                step.status = StepStatus.FAILED if fact.retry_at is None else StepStatus.RETRYING
                step.ended_at, step.error_class = fact.failed_at, fact.error.error_class.value
                _add_usage(step, fact.usage)
            case RunFailed() | RunCancelled():
                self._cancel_open_steps()
            case StepSkipped():
                self._add_step(fact.node, StepStatus.SKIPPED)
            case StepWaiting():
                step = self._get_or_add_step(fact.node, fact.attempt)
                step.status, step.waiting_for = StepStatus.WAITING, fact.waiting_for
                step.waiting_since, step.decided_at = fact.waiting_since, None
            case StepDecided():
                step = self._get_or_add_step(fact.node, 1)
                step.status, step.decided_at = StepStatus.DECIDED, fact.decided_at
            case AnswerRejected():
                _add_usage(self._get_or_add_step(fact.node, fact.attempt), fact.usage)
            case StepResultRefused():
                if fact.node in self.steps:
                    _add_usage(self.steps[fact.node], fact.usage)
            case StepReused(node=node, reused_at=at):
                step = self._add_step(node, StepStatus.COMPLETED)
                step.started_at = step.ended_at = at
            case _:
                pass

    def find_asset(self, node: str) -> tuple[UUID | None, int]:
        """Return the asset that a node uses and the version that the run pinned, or None and 0."""
        info = self.nodes.get(node, UNKNOWN_NODE)
        return info.asset_id, self._asset_version(info)

    def _asset_version(self, info: NodeInfo) -> int:
        return 0 if info.asset_id is None else self.assets.get(info.asset_id, 0)

    def _get_or_add_step(self, node: str, attempt: int) -> StepTimeline:
        step = self.steps.get(node)
        if step is None:
            step = self._add_step(node, RUNNING)
            step.attempt = attempt
        return step

    def _add_step(self, node: str, status: StepStatus) -> StepTimeline:
        info = self.nodes.get(node, UNKNOWN_NODE)
        step = self.steps[node] = StepTimeline(
            status=status,
            workflow_version=self.workflow_version,
            kind=info.kind,
            asset_id=info.asset_id,
            asset_version=self._asset_version(info),
        )
        return step

    def _apply_step_started(self, fact: StepStarted) -> None:
        step = self.steps.get(fact.node)
        if step is None:
            step = self._add_step(fact.node, RUNNING)
            step.first_started_at = fact.started_at
        else:
            step.status, step.ended_at = RUNNING, None
            step.first_started_at = step.first_started_at or fact.started_at
            step.waiting_for = step.waiting_since = step.decided_at = step.error_class = None
        step.attempt, step.started_at = fact.attempt, fact.started_at
        self.picked_up_at = self.picked_up_at or fact.started_at

    def _apply_run_started(self, fact: RunStarted) -> None:
        self.workflow_id, self.workflow_version = fact.workflow_id, fact.workflow_version
        self.assets, self.child = fact.pins.assets, fact.parent is not None
        self.began_at, self.picked_up_at = fact.started_at, None
        self.steps = {}

    def _apply_run_retried(self, fact: RunRetried) -> None:
        self.workflow_version = fact.workflow_version
        if fact.pins is not None:
            self.assets = fact.pins.assets
        self.began_at, self.picked_up_at = fact.retried_at, None
        kept = (*fact.kept, *fact.outputs_kept)
        self.steps = {node: step for node, step in self.steps.items() if node in kept}
        for node in fact.outputs_kept:
            if (step := self.steps.get(node)) is not None:
                step.status, step.started_at, step.ended_at = StepStatus.GIVEN, fact.retried_at, None
                step.error_class = None

    def _cancel_open_steps(self) -> None:
        for step in self.steps.values():
            if step.status not in SETTLED:
                step.status = StepStatus.CANCELLED


def parse_usd_as_pico(cost_usd: str) -> int:
    """Return a cost in pico-USD. Raises ArithmeticError or ValueError if it is not a number."""
    if cost_usd == "0":  # of free and local models; the conversion takes 0.7 µs, and a call is counted three times
        return 0
    return int(Decimal(cost_usd).scaleb(12).to_integral_value())


def format_pico_as_usd(pico: int) -> str:
    """Return a cost as a decimal without exponent or trailing zeros."""
    text = f"{Decimal(pico).scaleb(-12):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _add_usage(step: StepTimeline, usage: Usage | None) -> None:
    if usage is None:
        return
    step.model = usage.model
    if step.spent is None:
        step.spent = UsageTotals()
    step.spent.add(usage)
