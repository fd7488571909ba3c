"""Runs: executions of a workflow version, and the state that follows from their facts."""

from datetime import datetime
from enum import StrEnum
from functools import reduce
from typing import Final
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from domain.payload import NOTHING, Payload
from domain.runs.facts import (
    ForkedFrom,
    Parent,
    Pins,
    RunCancelled,
    RunCancelRequested,
    RunCompleted,
    RunFact,
    RunFailed,
    RunRetried,
    RunSignalled,
    RunStarted,
    StepCompleted,
    StepError,
    StepFailed,
    StepItemCounted,
    StepItemsSettled,
    StepResultRefused,
    StepStarted,
    StepWaiting,
    Usage,
    UsageTotals,
    WaitFor,
    add_totals,
)
from domain.runs.steps import (
    BUSY,
    RUNNING,
    SETTLED,
    KeptItems,
    Step,
    StepFact,
    StepStatus,
    count_stored_bytes,
    evolve_step,
    find_finished_items,
    list_usages,
    reopen_with_output,
)

NO_ID: Final = UUID(int=0)
NOTHING_TOOK: Final = UsageTotals()


class RunStatus(StrEnum):
    """Lifecycle of a run; `absent` before its first fact."""

    ABSENT = "absent"
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


# A tuple: members are found by identity, where a set would hash them in Python.
ENDED: Final = (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED)


class EarlierAttempt(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """End of an attempt of a run that was retried: failed by `error` at `node`, or cancelled."""

    attempt: int
    status: RunStatus
    node: str | None = None
    error: StepError | None = None
    ended_at: datetime | None = None


EARLIER_ATTEMPTS_MAX: Final = 20
"""How many attempts before the current one a run tells of; the log has the others."""


class Run(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The state of a run, folded from its facts.

    `busy`, `waiting` and `settled` count steps, so that no fold iterates over all of them. `data_bytes` is the size of
    its inputs and outputs in the content store; small ones are in facts.

    `attempt` counts from 1 and grows with every retry. `earlier` is what calls of models took that no step tells of
    any more: of steps begun anew by a retry, and of results that came too late. `kept_items` are of steps that are
    begun anew, by their nodes, until these wait again. `children_took` is of all children that ever settled.
    `failing_node` is the first step that failed without a default or fallback, until it has ended the run.
    `signals` came before a step waited for them, by name. `earlier_attempts` are the newest ones that were retried.
    `depth` is that below the `root_run_id` of a descendant.
    """

    status: RunStatus = RunStatus.ABSENT
    workflow_id: UUID = NO_ID
    workflow_version: int = 0
    inputs: Payload = NOTHING
    pins: Pins = Pins()
    steps: dict[str, Step] = {}
    busy: int = 0
    waiting: int = 0
    settled: int = 0
    data_bytes: int = 0
    outputs: dict[str, Payload] = {}
    failing_node: str | None = None
    failed_node: str | None = None
    error: StepError | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    attempt: int = 1
    parent: Parent | None = None
    root_run_id: UUID | None = None
    depth: int = 0
    forked_from: ForkedFrom | None = None
    name: str = ""
    labels: dict[str, str] = {}
    cancel_requested: bool = False
    earlier: tuple[Usage, ...] = ()
    kept_items: dict[str, KeptItems] = {}
    children_took: UsageTotals = NOTHING_TOOK
    signals: dict[str, RunSignalled] = {}
    earlier_attempts: tuple[EarlierAttempt, ...] = ()

    @property
    def has_ended(self) -> bool:
        """Return whether the run has ended; only a retry continues it."""
        return self.status in ENDED

    @property
    def waits_for_children(self) -> bool:
        """Return whether a step waits for child runs."""
        return self.waiting > 0 and any(step.waits_for_children for step in self.steps.values())

    @property
    def has_family(self) -> bool:
        """Return whether the run was started by a caller and has waited for child runs."""
        return self.parent is None and any(
            step.waiting is not None and step.waiting.waiting_for is WaitFor.CHILD for step in self.steps.values()
        )


def evolve(run: Run, fact: RunFact) -> Run:
    """Return the run after one more fact. Accepts any history; never refuses."""
    match fact:
        case StepStarted():
            return _evolve_step_started(run, fact)
        case StepCompleted():
            return _evolve_step_completed(run, fact)
        case RunStarted():
            return _create_started(fact)
        case RunCompleted():
            outputs = {node: run.steps[node].output for node in fact.output_nodes if node in run.steps}
            return replace(run, status=RunStatus.COMPLETED, outputs=outputs, ended_at=fact.completed_at)
        case RunFailed():
            return replace(
                _cancel_open_steps(run),
                status=RunStatus.FAILED,
                failed_node=fact.node,
                error=fact.error,
                ended_at=fact.failed_at,
            )
        case RunCancelRequested():
            return run if run.has_ended else replace(run, cancel_requested=True)
        case RunCancelled():
            return replace(_cancel_open_steps(run), status=RunStatus.CANCELLED, ended_at=fact.cancelled_at)
        case RunRetried():
            return _evolve_retried(run, fact)
        case _:
            return _evolve_rarer(run, fact)


def _evolve_rarer(run: Run, fact: StepFact | RunSignalled | StepResultRefused | StepItemCounted) -> Run:
    match fact:
        case RunSignalled():
            return _evolve_signalled(run, fact)
        case StepResultRefused() | StepItemCounted():
            return _count_late_usage(run, fact)
        case _:
            return _evolve_other_step(run, fact)


def _evolve_signalled(run: Run, fact: RunSignalled) -> Run:
    """Return the run with its steps that wait for this signal decided; without any the signal is kept for the next."""
    awaiting = [(node, step) for node, step in run.steps.items() if step.awaits_signal(fact.name)]
    if not awaiting:
        return run if run.has_ended else replace(run, signals={**run.signals, fact.name: fact})
    for node, step in awaiting:
        run = _replace_step(run, node, step, replace(step, status=StepStatus.DECIDED, signal=fact))
    return run


def _take_signal(run: Run, fact: StepWaiting) -> Run:
    """Return the run with a signal that came early given to the step that begins to wait for it."""
    signal = None if fact.signal is None else run.signals.get(fact.signal)
    if signal is None:
        return run
    others = {name: kept for name, kept in run.signals.items() if name != fact.signal}
    return _evolve_signalled(replace(run, signals=others), signal)


def _count_late_usage(run: Run, fact: StepResultRefused | StepItemCounted) -> Run:
    if isinstance(fact, StepItemCounted):
        return replace(run, children_took=add_totals(run.children_took, fact.took))
    return run if fact.usage is None else replace(run, earlier=(*run.earlier, fact.usage))


def _create_started(fact: RunStarted) -> Run:
    return Run(
        status=RunStatus.QUEUED,
        workflow_id=fact.workflow_id,
        workflow_version=fact.workflow_version,
        inputs=fact.inputs,
        data_bytes=fact.inputs.bytes or 0,
        pins=fact.pins,
        started_at=fact.started_at,
        parent=fact.parent,
        root_run_id=fact.root_run_id,
        depth=fact.depth,
        forked_from=fact.forked_from,
        name=fact.name,
        labels=fact.labels,
    )


def _cancel_open_steps(run: Run) -> Run:
    """Return the run with every unsettled step cancelled."""
    if not run.busy and not run.waiting:
        return run if run.failing_node is None else replace(run, failing_node=None)
    steps = {
        node: step if step.status in SETTLED else replace(step, status=StepStatus.CANCELLED)
        for node, step in run.steps.items()
    }
    return replace(run, steps=steps, busy=0, waiting=0, failing_node=None, data_bytes=_sum_bytes(run.inputs, steps))


def _sum_bytes(inputs: Payload, steps: dict[str, Step]) -> int:
    return (inputs.bytes or 0) + sum(count_stored_bytes(step) for step in steps.values())


def _evolve_retried(run: Run, fact: RunRetried) -> Run:
    kept = {node: replace(step, edges_taken=fact.kept[node]) for node, step in run.steps.items() if node in fact.kept}
    again = {
        node: reopen_with_output(step, fact.retried_at)
        for node, step in run.steps.items()
        if node in fact.outputs_kept and step.gave is not None
    }
    steps = {**kept, **again}
    items = {node: find_finished_items(run.steps.get(node), run.kept_items.get(node)) for node in fact.items_kept}
    dropped = (usage for node, step in run.steps.items() if node not in steps for usage in list_usages(step))
    ended = EarlierAttempt(
        attempt=run.attempt, status=run.status, node=run.failed_node, error=run.error, ended_at=run.ended_at
    )
    return replace(
        run,
        status=RunStatus.QUEUED,
        workflow_version=fact.workflow_version,
        pins=fact.pins or run.pins,
        steps=steps,
        busy=len(again),
        waiting=0,
        settled=sum(step.status in SETTLED for step in steps.values()),
        data_bytes=_sum_bytes(run.inputs, steps),
        outputs={},
        failed_node=None,
        error=None,
        ended_at=None,
        attempt=fact.run_attempt,
        cancel_requested=False,
        earlier=(*run.earlier, *dropped),
        earlier_attempts=(*run.earlier_attempts, ended)[-EARLIER_ATTEMPTS_MAX:],
        kept_items={node: kept for node, kept in items.items() if kept is not None},
    )


# Nearly all facts are claims of new steps, and outputs of claimed ones. What these do to the counts of a run is known,
# and need not be found out as in `_moved`: 0.8 and 1.3 µs a fact in place of 2.2 and 2.4.
def _evolve_step_started(run: Run, fact: StepStarted) -> Run:
    node = fact.node
    old = run.steps.get(node)
    new = evolve_step(old, fact)
    if old is not None:
        return _keep_finished_items(_replace_step(run, node, old, new), node, old)
    busy = run.busy + 1
    return replace(
        run,
        status=run.status if run.status in ENDED else _compute_status(run, busy, run.waiting),
        steps={**run.steps, node: new},
        busy=busy,
    )


def _evolve_step_completed(run: Run, fact: StepCompleted) -> Run:
    node = fact.node
    old = run.steps.get(node)
    new = evolve_step(old, fact)
    if old is None or old.status is not RUNNING:
        return _replace_step(run, node, old, new)
    busy = run.busy - 1
    return replace(
        run,
        status=run.status if run.status in ENDED else _compute_status(run, busy, run.waiting),
        steps={**run.steps, node: new},
        busy=busy,
        settled=run.settled + 1,
        data_bytes=run.data_bytes + (fact.output.bytes or 0),  # a running step holds no data
    )


def _evolve_other_step(run: Run, fact: StepFact) -> Run:
    old = run.steps.get(fact.node)
    moved = _replace_step(run, fact.node, old, evolve_step(old, fact))
    if old is None:
        return moved  # what follows is for steps that were begun before
    match fact:
        case StepWaiting() if fact.signal is not None:
            return _take_signal(moved, fact)
        case StepWaiting() if fact.node in run.kept_items:
            return _resume_waiting(moved, fact)
        case StepFailed() if moved.steps[fact.node].ends_its_run and not moved.has_ended:
            return replace(moved, status=RunStatus.RUNNING, failing_node=moved.failing_node or fact.node)
        case StepItemsSettled():
            took = [item.took for item in fact.items if item.took is not None]
            return replace(moved, children_took=reduce(add_totals, took, run.children_took)) if took else moved
        case _:
            return moved


def _keep_finished_items(run: Run, node: str, old: Step) -> Run:
    finished = find_finished_items(old, run.kept_items.get(node))
    return run if finished is None else replace(run, kept_items={**run.kept_items, node: finished})


def _resume_waiting(run: Run, fact: StepWaiting) -> Run:
    """Return the run with a step waiting again: only for the children that had not completed, if the fact resumes."""
    steps = run.steps
    if fact.resumes:
        steps = {**steps, fact.node: replace(steps[fact.node], items=run.kept_items[fact.node].results)}
    others = {node: kept for node, kept in run.kept_items.items() if node != fact.node}
    return replace(run, steps=steps, kept_items=others)


def _replace_step(run: Run, node: str, old: Step | None, new: Step) -> Run:
    before = old.status if old is not None else None
    after = new.status
    busy = run.busy + (after in BUSY) - (before in BUSY)
    waiting = run.waiting + (after is StepStatus.WAITING) - (before is StepStatus.WAITING)
    return replace(
        run,
        status=run.status if run.has_ended else _compute_status(run, busy, waiting),
        steps={**run.steps, node: new},
        busy=busy,
        waiting=waiting,
        settled=run.settled + (after in SETTLED) - (before in SETTLED),
        data_bytes=run.data_bytes + count_stored_bytes(new) - count_stored_bytes(old),
    )


def _compute_status(run: Run, busy: int, waiting: int) -> RunStatus:
    """Return the status of a run by its steps; a run that is about to fail never counts as waiting."""
    return RunStatus.WAITING if waiting and not busy and run.failing_node is None else RunStatus.RUNNING


def compute_usage_totals(run: Run) -> UsageTotals:
    """Return the usage of all model calls of a run: those of its steps, and those of its settled children."""
    own = [*run.earlier, *(usage for step in run.steps.values() for usage in list_usages(step))]
    return reduce(add_totals, map(_convert_usage, own), run.children_took)


def _convert_usage(usage: Usage) -> UsageTotals:
    return UsageTotals(
        model_calls=1,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cost_usd=usage.cost_usd,
    )
