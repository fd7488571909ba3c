"""Building one turn of a run: the commands that results lead to, and those of the steps that become due."""

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timedelta
from random import Random
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from commands.runs.steps import (
    CancelRun,
    CompleteRun,
    CompleteStep,
    DecideAtDeadline,
    FailRun,
    FailStep,
    RecordAsked,
    RejectAnswer,
    SettleItems,
    SkipStep,
    StartStep,
    WaitInStep,
)
from commands.runs.turn import Turn
from domain.expressions.budget import Budget
from domain.expressions.common import ExpressionFault
from domain.graphs.compiled import CompiledGraph
from domain.graphs.graph import ContinueWith, ErrorClass, Node, TakeFallback
from domain.payload import Payload
from domain.runs.facts import ItemOutcome, StepError
from domain.runs.run import Run
from domain.runs.steps import Step, StepStatus
from engine.cluster.owner import Owner
from engine.steps.attempts import compute_backoff_seconds, compute_total_deadline
from engine.steps.contract import (
    AnswerRejected,
    CallAsked,
    DecidedAtDeadline,
    Failed,
    ItemsSettled,
    Result,
    RetryDue,
    Succeeded,
    Waiting,
    build_failure,
    make_storable,
)
from engine.steps.run_data import ConditionsTooSlow, RunData, decide_edges, find_fallback_edges
from engine.turns.data_limit import RUN_DATA_BYTES, check_data_limit
from engine.turns.lost_attempts import RUN_ENDED, build_refusals
from engine.turns.schedule import NO_EDGE_TAKEN, DueSteps, find_due_after, find_due_on_resume, is_all_settled

ENDS_OF_ATTEMPTS: Final = (StepStatus.COMPLETED, StepStatus.FAILED)


EdgeVerdict = tuple[int, ...] | ExpressionFault
"""The edges taken after a step, or why its conditions cannot be evaluated."""
NO_VERDICTS: Final[Mapping[tuple[str, bool], EdgeVerdict]] = {}
CONDITIONS_WORK_MAX: Final = 20_000
"""Work of the conditions of one turn on the event loop; about 10 ms."""


class SlowEdges(Exception):  # noqa: N818  # makes the driver evaluate them in a worker and rebuild the turn
    """The conditions after a step leave the event loop. `key` is the step, and whether its default output counts."""

    def __init__(self, key: tuple[str, bool], work: Callable[[], tuple[int, ...]]) -> None:
        """Name the step, and the work that evaluates its conditions."""
        super().__init__(key[0])
        self.key = key
        self.work = work


class TurnBuilder(Struct):
    """One turn being built. The steps to execute once it is committed gather in `started`.

    `verdicts` are the edges that were decided elsewhere, by step and whether its default output counts.
    `busy` are the steps that this engine executes or waits to retry; they are not claimed again.
    `run_failure` ends the run: it belongs to the first step that has failed for good. It takes effect in this turn,
    unless the run `has_children`: those are asked to cancel first, and an engine that takes the run over in between
    must find in the log what the run fails by. `was_decided`: what a step waits for had come before, so that the next
    turn has its result to record.
    """

    turn: Turn
    graph: CompiledGraph
    data: RunData
    owner: Owner
    random: Random
    busy: Collection[str] = ()
    started: list[str] = []
    run_data_bytes: int = RUN_DATA_BYTES
    verdicts: Mapping[tuple[str, bool], EdgeVerdict] = NO_VERDICTS
    budget: Budget = msgspec.field(default_factory=lambda: Budget(CONDITIONS_WORK_MAX))
    run_failure: FailRun | None = None
    has_children: bool = False
    was_decided: bool = False

    def resume(self, results: Iterable[tuple[str, Result]]) -> None:
        """Continue a run from its recorded state, at whatever point an engine has left it."""
        self.run_failure = find_run_failure(self.turn.run)
        self.settle(results)
        self.schedule(find_due_on_resume(self.graph, self.turn.run))

    @property
    def ends_next_turn(self) -> bool:
        """Return whether a step failed the run in this turn, so that the next turn only has to end it."""
        return self.run_failure is not None and not self.turn.run.has_ended

    def schedule_after(self, settled: Iterable[str]) -> None:
        """Claim and skip what has become due because these nodes have settled."""
        self.schedule(find_due_after(self.graph, self.turn.run, settled))

    def schedule(self, due: DueSteps) -> None:
        """Claim and skip what is due, and end the run when nothing is left or a cancellation is requested."""
        if self.turn.run.cancel_requested:
            self.turn.decide(CancelRun())
            return
        if self.run_failure is not None:
            return
        for node in due.skip:
            self.turn.decide(SkipStep(node=node, reason=NO_EDGE_TAKEN))
            self.data.record_skip(node)
        for node in due.start:
            self._claim(node)
        if is_all_settled(self.graph, self.turn.run):
            outputs = tuple(node for node in self.graph.terminals if self.data.has_output(node))
            self.turn.decide(CompleteRun(output_nodes=outputs))

    def settle(self, results: Iterable[tuple[str, Result]]) -> list[str]:
        """Record results; return the steps that have settled, in order.

        Failures come last, and large outputs right before them: either may end the run, and the usage of all other
        results must be recorded before. For the same reason an output whose edge conditions cannot be evaluated ends
        the run only after the others are recorded.
        """
        settled: list[str] = []
        arrived = list(results)
        if len(arrived) > 1:
            arrived.sort(key=rank_by_risk)
        for node, result in arrived:
            if is_failure(result):
                self._end_if_failed()
            if self.turn.run.has_ended:
                self._refuse(node, result)
                continue
            self._settle(node, result)
            step = self.turn.run.steps.get(node)
            if step is not None and step.status in ENDS_OF_ATTEMPTS:
                settled.append(node)
        self._end_if_failed()
        return settled

    def _end_if_failed(self) -> None:
        if self.run_failure is not None and not self.has_children:
            self.turn.decide(self.run_failure)

    def _settle(self, node: str, result: Result) -> None:
        match result:
            case ItemsSettled():
                self._settle_items(node, result)
            case Succeeded():
                self._complete(node, result)
            case Failed():
                self._fail(node, result)
            case Waiting():
                self._wait(node, result)
            case RetryDue():
                self._claim(node)
            case AnswerRejected():
                self._reject_answer(node, result)
            case CallAsked():
                self.turn.decide(RecordAsked(node=node, attempt=result.attempt, call=result.call))
            case DecidedAtDeadline():
                self.turn.decide(DecideAtDeadline(node=node, outcome=result.outcome, data=result.data))
                self._complete(node, result.gave)

    def _claim(self, node: str) -> None:
        if node in self.busy or self._is_stopping:  # a claim promises that the work is executed, which it would not be
            return
        step = self.turn.run.steps.get(node)
        is_ours = step is not None and step.status is StepStatus.RUNNING and step.epoch == self.owner.epoch
        if not is_ours:
            self.turn.decide(StartStep(node=node, executor=self.owner.name, epoch=self.owner.epoch))
        elif node in self.started:
            return
        self.started.append(node)

    def _refuse(self, node: str, result: Result) -> None:
        """Record the usage of a result that arrives in the turn in which another step ends the run."""
        for refusal in build_refusals(self.turn.run, [(node, result)], RUN_ENDED):
            self.turn.refuse_before_end(refusal)

    @property
    def _is_stopping(self) -> bool:
        """Return whether the run is about to end: no step starts any more, and its children are asked to cancel."""
        return self.turn.run.cancel_requested or self.run_failure is not None

    def _settle_items(self, node: str, result: ItemsSettled) -> None:
        self.turn.decide(SettleItems(node=node, items=result.items))
        if self._is_stopping and any(item.outcome is ItemOutcome.CANCELLED for item in result.items):
            return  # perhaps cancelled because this run ends; a retry would keep it as the result of the step
        if isinstance(result.then, Succeeded):
            self._complete(node, result.then)
        elif result.then is not None:
            self._fail(node, result.then)

    def _wait(self, node: str, result: Waiting) -> None:
        over_limit = check_data_limit(result.waiting.items, self.turn.run, node, self.run_data_bytes)
        if over_limit is None:
            self.turn.decide(WaitInStep(waiting=result.waiting))
            self.was_decided |= self.turn.run.steps[node].status is StepStatus.DECIDED
        else:
            self._fail_for_good(node, over_limit)

    def _complete(self, node: str, result: Succeeded) -> None:
        over_limit = check_data_limit(result.payload, self.turn.run, node, self.run_data_bytes)
        if over_limit is not None:  # a retry would cost another call, and its output would be refused again
            self._fail_for_good(node, replace(over_limit, usage=result.usage, call=result.call))
            return
        self.data.record_output(node, result.output)
        try:
            edges = self._decide_edges(node)
        except ExpressionFault as fault:
            unevaluated = build_failure(ErrorClass.EXPRESSION, fault.message)
            self._fail_for_good(
                node, Failed(unevaluated.error, usage=result.usage, call=result.call), output=result.payload
            )
            return
        self.turn.decide(
            CompleteStep(node=node, output=result.payload, edges_taken=edges, usage=result.usage, call=result.call)
        )

    def _reject_answer(self, node: str, rejected: AnswerRejected) -> None:
        self.turn.decide(
            RejectAnswer(
                node=node,
                attempt=rejected.attempt,
                repair=rejected.repair,
                problems=rejected.problems,
                usage=rejected.usage,
                call=rejected.call,
            )
        )

    def _fail(self, node: str, result: Failed) -> None:
        retry_at = self._compute_retry_time(self.graph.nodes[node], self.turn.run.steps.get(node), result)
        if retry_at is None:
            self._fail_for_good(node, result)
        else:
            self.turn.decide(_build_fail(node, result, retry_at))

    def _fail_for_good(self, node: str, result: Failed, output: Payload | None = None) -> None:
        """Record the last failure of a step; `output` is what it returned, if its edges could not be evaluated."""
        if self.turn.run.cancel_requested:
            # The cancellation ends the run, not this step: the attempt is recorded with its usage and stays open.
            now = self.turn.now
            self.turn.decide(_build_fail(node, result, now, output))
            return
        policy = self.graph.nodes[node].on_error
        edges: tuple[int, ...] | None = None
        default: Payload | None = None
        error = result.error
        self.data.record_skip(node)
        if isinstance(policy, ContinueWith):
            try:
                edges = self._evaluate_default(node, policy)
                default = Payload(value=policy.output)
            except ExpressionFault as fault:
                error = _add_default_fault(error, fault)
        elif isinstance(policy, TakeFallback):
            edges = find_fallback_edges(self.graph, node)
        self.turn.decide(
            FailStep(
                node=node,
                error=error,
                usage=result.usage,
                call=result.call,
                edges_taken=edges or (),
                continued_with=default,
                gave=output if edges is None else None,
            )
        )
        if edges is not None:
            return
        if self.run_failure is None:
            self.run_failure = FailRun(node=node, error=error)
            self.has_children = self.turn.run.waits_for_children
        if output is None:
            self._end_if_failed()

    def _evaluate_default(self, node: str, policy: ContinueWith) -> tuple[int, ...]:
        """Return the edges taken as if the step had returned its default output. Raises ExpressionFault."""
        self.data.record_output(node, policy.output)
        try:
            return self._decide_edges(node, is_default=True)
        except ExpressionFault:
            self.data.record_skip(node)
            raise

    def _decide_edges(self, node: str, *, is_default: bool = False) -> tuple[int, ...]:
        """Return the edges taken after a step. Raises ExpressionFault, SlowEdges."""
        verdict = self.verdicts.get((node, is_default))
        if isinstance(verdict, ExpressionFault):
            raise verdict
        if verdict is not None:
            return verdict
        try:
            return decide_edges(self.graph, node, self.data, self.budget)
        except ConditionsTooSlow as slow:
            raise SlowEdges((node, is_default), slow.work) from None

    def _compute_retry_time(self, node: Node, step: Step | None, result: Failed) -> datetime | None:
        """Return when to retry a failed attempt; None when the failure is final."""
        retry = node.retry
        error_class = result.error.error_class
        if retry is None or step is None or result.is_final:
            return None
        if error_class not in retry.retry_on or error_class is ErrorClass.OWNER_LOST:
            return None  # a step lost too often has had its own attempts, whatever the policy says
        if step.failures >= retry.max_attempts:
            return None
        backoff_seconds = compute_backoff_seconds(retry.backoff, step.failures, self.random)
        wait_seconds = max(backoff_seconds, result.retry_after_seconds or 0.0)
        retry_at = self.turn.now + timedelta(seconds=wait_seconds)
        deadline = compute_total_deadline(node, step)
        return retry_at if deadline is None or retry_at < deadline else None


def _build_fail(node: str, result: Failed, retry_at: datetime, gave: Payload | None = None) -> FailStep:
    return FailStep(node=node, error=result.error, usage=result.usage, call=result.call, retry_at=retry_at, gave=gave)


def find_run_failure(run: Run) -> FailRun | None:
    """Return the failure that a run must end by; None for one that continues, or whose cancellation comes first."""
    node = run.failing_node
    error = None if node is None or run.cancel_requested else run.steps[node].error
    return None if node is None or error is None else FailRun(node=node, error=error)


def rank_by_risk(settled: tuple[str, Result]) -> tuple[bool, int]:
    """Return the sort key of a result by how likely it ends the run: failures last, larger outputs later."""
    result = _get_step_result(settled[1])
    size = result.payload.bytes or 0 if isinstance(result, Succeeded) else 0
    return isinstance(result, Failed), size


def is_failure(result: Result) -> bool:
    """Return whether a result is a failure of its step."""
    return isinstance(_get_step_result(result), Failed)


def _get_step_result(result: Result) -> Result | None:
    return result.then if isinstance(result, ItemsSettled) else result


def _add_default_fault(error: StepError, fault: ExpressionFault) -> StepError:
    """Explain why a run ends though its step has a default output: a reader of the graph would not expect it."""
    if fault.message == error.message:  # the same condition fails whatever the step returns
        return error
    return replace(error, message=make_storable(f"{error.message}; with the output of on_error {fault.message}"))
