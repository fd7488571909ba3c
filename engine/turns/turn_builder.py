"""Progress of a run: what a result comes to in a turn, and what becomes due because of it."""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from random import Random
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from commands.runs.steps import (
    CancelRun,
    CompleteRun,
    CompleteStep,
    DecideAtDeadline,
    FailRun,
    FailStep,
    RejectAnswer,
    SettleItems,
    SkipStep,
    StartStep,
    WaitInStep,
)
from commands.runs.turn import Turn
from domain.expressions.common import ExpressionFault
from domain.graphs.compiled import CompiledGraph
from domain.graphs.graph import ContinueWith, ErrorClass, Node, TakeFallback
from domain.payload import Payload
from domain.runs.facts import ItemOutcome, StepError
from domain.runs.steps import Step, StepStatus
from engine.cluster.owner import Owner
from engine.steps.attempts import compute_backoff_seconds, compute_total_deadline
from engine.steps.contract import (
    AnswerRejected,
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
from engine.steps.run_data import RunData, decide_edges, find_fallback_edges
from engine.turns.data_limit import RUN_DATA_BYTES, no_room_for
from engine.turns.lost_attempts import RUN_ENDED, late
from engine.turns.run_ends import ends_by, fails, likely_to_end, waits_for_children
from engine.turns.schedule import NO_EDGE_TAKEN, Due, all_settled, due_after, due_again

ENDS_OF_ATTEMPTS: Final = (StepStatus.COMPLETED, StepStatus.FAILED)


class Progress(Struct):
    """One turn being made: what is to be carried out once it is committed gathers in `started`.

    `busy` are the steps that this engine has under way or waits to try again: what is due again does not touch them.
    `ends` is the first step that has failed for good; the run ends by it in this turn, unless it `has_children`: those
    are asked to end before it does, and whoever took the run over between must find what it ends by in the log.
    """

    turn: Turn
    graph: CompiledGraph
    data: RunData
    owner: Owner
    random: Random
    busy: Collection[str] = ()
    started: list[str] = []
    most_data_bytes: int = RUN_DATA_BYTES
    ends: FailRun | None = None
    has_children: bool = False

    def resume(self, results: Iterable[tuple[str, Result]]) -> None:
        """Go on with a run as it is found, at whatever point an engine has left it."""
        self.ends = ends_by(self.turn.run)
        self.settle(results)
        self.carry_on(due_again(self.graph, self.turn.run))

    @property
    def will_end(self) -> bool:
        """Tell whether the run has nothing left but to end in its next turn, by a step that failed in this one."""
        return self.ends is not None and not self.turn.run.ended

    def carry_on(self, due: Due) -> None:
        """Claim and skip what is due, and end the run when nothing is left, or when that was asked for."""
        if self.turn.run.cancel_requested:
            self.turn.give(CancelRun())
            return
        if self.ends is not None:
            return
        for node in due.skip:
            self.turn.give(SkipStep(node=node, reason=NO_EDGE_TAKEN))
            self.data.record_skip(node)
        for node in due.start:
            self._claim(node)
        if all_settled(self.graph, self.turn.run):
            self.turn.give(CompleteRun(output_nodes=self._output_nodes()))

    def settle(self, results: Iterable[tuple[str, Result]]) -> list[str]:
        """Record what steps came to; gives those that have settled, in order.

        Failures come last, and large outputs before them: one may end the run, and what the others gave has been paid
        for. So has an output whose edges cannot be decided: all of them are told of before the first one ends the run.
        """
        settled: list[str] = []
        arrived = list(results)
        if len(arrived) > 1:
            arrived.sort(key=likely_to_end)
        for node, result in arrived:
            if fails(result):
                self._perhaps_end()
            if self.turn.run.ended:
                self._too_late(node, result)
                continue
            self._settle(node, result)
            step = self.turn.run.steps.get(node)
            if step is not None and step.status in ENDS_OF_ATTEMPTS:
                settled.append(node)
        self._perhaps_end()
        return settled

    def _perhaps_end(self) -> None:
        if self.ends is not None and not self.has_children:
            self.turn.give(self.ends)

    def _settle(self, node: str, result: Result) -> None:
        match result:
            case ItemsSettled():
                self._items_settled(node, result)
            case Succeeded():
                self._completed(node, result)
            case Failed():
                self._failed(node, result)
            case Waiting():
                self._waits(node, result)
            case RetryDue():
                self._claim(node)
            case AnswerRejected():
                self._rejected(node, result)
            case DecidedAtDeadline():
                self.turn.give(DecideAtDeadline(node=node, outcome=result.outcome, data=result.data))
                self._completed(node, result.gave)

    def onward(self, settled: Iterable[str]) -> None:
        """Claim and skip what has become due because these nodes have settled."""
        self.carry_on(due_after(self.graph, self.turn.run, settled))

    def _claim(self, node: str) -> None:
        if node in self.busy or self._is_stopping:  # a claim says that the work is done; it would not be
            return
        step = self.turn.run.steps.get(node)
        ours = step is not None and step.status is StepStatus.RUNNING and step.epoch == self.owner.epoch
        if not ours:
            self.turn.give(StartStep(node=node, executor=self.owner.name, epoch=self.owner.epoch))
        elif node in self.started:
            return
        self.started.append(node)

    def _too_late(self, node: str, result: Result) -> None:
        """Keep what was paid for beside the step that ended the run."""
        for refused in late(self.turn.run, [(node, result)], RUN_ENDED):
            self.turn.give_before_the_end(refused)

    @property
    def _is_stopping(self) -> bool:
        """Tell whether the run is about to end: nothing more begins in it, and its children are asked to end."""
        return self.turn.run.cancel_requested or self.ends is not None

    def _items_settled(self, node: str, result: ItemsSettled) -> None:
        self.turn.give(SettleItems(node=node, items=result.items))
        if self._is_stopping and any(one.outcome is ItemOutcome.CANCELLED for one in result.items):
            return  # perhaps because this run ends: it would be kept by a retry as what the step came to
        if isinstance(result.then, Succeeded):
            self._completed(node, result.then)
        elif result.then is not None:
            self._failed(node, result.then)

    def _waits(self, node: str, result: Waiting) -> None:
        too_much = no_room_for(result.waiting.items, self.turn.run, node, self.most_data_bytes)
        if too_much is None:
            self.turn.give(WaitInStep(waiting=result.waiting))
        else:
            self._failed_for_good(node, too_much)

    def _completed(self, node: str, result: Succeeded) -> None:
        too_much = no_room_for(result.payload, self.turn.run, node, self.most_data_bytes)
        if too_much is not None:  # another attempt would be paid for, and its output refused like this one
            self._failed_for_good(node, replace(too_much, usage=result.usage))
            return
        self.data.record_output(node, result.output)
        try:
            edges = decide_edges(self.graph, node, self.data)
        except ExpressionFault as fault:
            refused = build_failure(ErrorClass.EXPRESSION, fault.message)
            self._failed_for_good(node, Failed(refused.error, usage=result.usage), gave=result.payload)
            return
        self.turn.give(CompleteStep(node=node, output=result.payload, edges_taken=edges, usage=result.usage))

    def _rejected(self, node: str, rejected: AnswerRejected) -> None:
        self.turn.give(
            RejectAnswer(
                node=node,
                attempt=rejected.attempt,
                repair=rejected.repair,
                problems=rejected.problems,
                usage=rejected.usage,
            )
        )

    def _failed(self, node: str, result: Failed) -> None:
        retry_at = self._retry_at(self.graph.nodes[node], self.turn.run.steps.get(node), result)
        if retry_at is None:
            self._failed_for_good(node, result)
        else:
            self.turn.give(FailStep(node=node, error=result.error, usage=result.usage, retry_at=retry_at))

    def _failed_for_good(self, node: str, result: Failed, gave: Payload | None = None) -> None:
        if self.turn.run.cancel_requested:
            # It is not the step that ends the run: the attempt is told of, with what it took, and stays open.
            now = self.turn.now
            self.turn.give(FailStep(node=node, error=result.error, usage=result.usage, retry_at=now, gave=gave))
            return
        policy = self.graph.nodes[node].on_error
        edges: tuple[int, ...] | None = None
        instead: Payload | None = None
        error = result.error
        self.data.record_skip(node)
        if isinstance(policy, ContinueWith):
            try:
                edges = self._edges_of_default(node, policy)
                instead = Payload(value=policy.output)
            except ExpressionFault as fault:
                error = _in_spite_of_default(error, fault)
        elif isinstance(policy, TakeFallback):
            edges = find_fallback_edges(self.graph, node)
        self.turn.give(
            FailStep(
                node=node,
                error=error,
                usage=result.usage,
                edges_taken=edges or (),
                continued_with=instead,
                gave=gave if edges is None else None,
            )
        )
        if edges is not None:
            return
        if self.ends is None:
            self.ends, self.has_children = FailRun(node=node, error=error), waits_for_children(self.turn.run)
        if gave is None:
            self._perhaps_end()

    def _edges_of_default(self, node: str, policy: ContinueWith) -> tuple[int, ...]:
        """Decide the edges as if the step had given its default output. Raises ExpressionFault, like any output."""
        self.data.record_output(node, policy.output)
        try:
            return decide_edges(self.graph, node, self.data)
        except ExpressionFault:
            self.data.record_skip(node)
            raise

    def _retry_at(self, node: Node, step: Step | None, result: Failed) -> datetime | None:
        retry = node.retry
        error_class = result.error.error_class
        if retry is None or step is None or error_class not in retry.retry_on or error_class is ErrorClass.OWNER_LOST:
            return None  # what was lost too often has had its own attempts, whatever the policy says
        if step.failures >= retry.max_attempts:
            return None
        wait = max(
            compute_backoff_seconds(retry.backoff, step.failures, self.random), result.retry_after_seconds or 0.0
        )
        retry_at = self.turn.now + timedelta(seconds=wait)
        ends_at = compute_total_deadline(node, step)
        return retry_at if ends_at is None or retry_at < ends_at else None

    def _output_nodes(self) -> tuple[str, ...]:
        return tuple(node for node in self.graph.terminals if self.data.has_output(node))


def _in_spite_of_default(error: StepError, fault: ExpressionFault) -> StepError:
    """Say why a run ends though its step had a default output: a reader of the graph would not expect it."""
    if fault.message == error.message:  # the same condition fails whatever the step gave
        return error
    return replace(error, message=make_storable(f"{error.message}; with the output of on_error {fault.message}"))
