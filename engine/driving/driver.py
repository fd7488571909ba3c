"""Driving one run: turn after turn, until it has ended or waits for something outside the engine."""

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from msgspec.structs import replace

from commands.aggregates import RUN
from commands.runs.lifecycle import CancelRun, cancel_run
from commands.runs.steps import RefuseResult
from commands.runs.turn import Turn, append_turn
from domain.expressions.common import ExpressionFault
from domain.folded import Folded
from domain.graphs.compiled import CompiledGraph
from domain.runs.facts import Parent, Usage
from domain.runs.run import Run, RunStatus
from domain.runs.steps import StepStatus
from engine.children.cancelling import PARENT_ENDED
from engine.children.run_children import RunChildren
from engine.executors import is_inline
from engine.failpoints import FailPoint
from engine.steps.contract import Result, RetryDue, StepCall
from engine.steps.run_data import RunData
from engine.turns.context import EngineContext
from engine.turns.first_turn import INLINE_TIME_MAX, run_inline_steps
from engine.turns.lost_attempts import (
    ABORTED,
    RunTaken,
    append_refusals,
    build_refusals,
    fail_repeatedly_lost,
    find_new_claim,
)
from engine.turns.resolve import resolve_overdue, resolve_recorded_results, resolve_run_data
from engine.turns.schedule import find_due_at_start
from engine.turns.turn_builder import EdgeVerdict, SlowEdges, TurnBuilder
from store.errors import Conflict, Unavailable
from store.log.records import Actor, Metadata
from store.outage_log import OutageLog
from store.retrying import BackOff

FAILURES_MAX: Final = 20


class RunLost(Exception):  # noqa: N818  # makes the engine abandon the run
    """Every append conflicted: another writer keeps appending to the run."""


class Driver:
    """Drives one run that this engine owns. It holds no state that could not be rebuilt from the log."""

    def __init__(
        self,
        context: EngineContext,
        held: Folded[Run],
        graph: CompiledGraph,
        begun_by: Metadata,
        *,
        is_new: bool = False,
    ) -> None:
        """Drive a folded run. `begun_by` is the metadata of its first fact; `is_new` means that it has just started."""
        self._context = context
        self._graph = graph
        self._held = held
        self._run_attempt = held.state.attempt
        self._begun_by = begun_by
        self._actor = Actor("engine", context.owner.name)
        self._data = RunData(None)
        self._results: list[tuple[str, Result]] = []
        self._aborted: list[RefuseResult] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._verdicts: dict[tuple[str, bool], EdgeVerdict] = {}
        self._back_off = BackOff()
        self._outages: OutageLog | None = None
        self._wake = asyncio.Event()
        self._is_stale = False
        self._children = RunChildren(context)
        self._is_new = is_new

    @property
    def run(self) -> Run:
        """Return the run as this driver holds it."""
        return self._held.state

    def list_unrecorded_children(self) -> list[tuple[UUID, Parent]]:
        """Return the children that have ended and are in no result of a step."""
        return self._children.list_unrecorded()

    @property
    def was_moved(self) -> bool:
        """Return whether another writer has appended to the run since it was last read, or has retried it."""
        return self._is_stale or self._held.state.attempt != self._run_attempt

    def notify_version(self, version: int) -> None:
        """Note the version of the run's stream; a higher one than ours means that another writer appended."""
        if version > self._held.version:
            self.notify_due()

    def notify_child_ended(self, node: str, item: int, run_id: UUID) -> None:
        """Note that a child of a step has ended."""
        if self._children.notify_ended(node, item, run_id):
            self._wake.set()

    def notify_due(self) -> None:
        """Reload the run: a step of it may be due by the clock."""
        self._is_stale = True
        self._wake.set()

    async def drive(self) -> None:
        """Drive until the run has ended, or waits with no task running here. Raises RunLost, RunTaken."""
        resuming = bool(self._held.state.steps)
        try:
            while not self._is_over():
                results, self._results = self._results, []
                try:
                    builder = await self._build_turn(results, resuming=resuming)
                    await self._commit(builder)
                except (Conflict, Unavailable) as fault:
                    self._results = results + self._results
                    await self._recover(fault)
                    resuming = True
                    continue
                self._back_off.reset()
                if self._outages is not None:
                    self._outages.note_success()
                if results:
                    self._context.failpoint(FailPoint.RECORDED)
                if builder.ends_next_turn or builder.was_decided:
                    resuming = True  # from what is recorded now, as an engine that took the run over would
                    continue
                if self._is_over():
                    self._context.failpoint(FailPoint.RUN_ENDED)
                    return
                await self._execute(builder.started)
                if not self._results and not self._tasks and not self._is_stale:
                    return
                resuming = await self._wait_for_news()
        finally:
            await cancel_tasks(self._tasks)
            self._context.streams.keep(self._held)

    def _is_over(self) -> bool:
        """Return whether the run has ended; one retried since may have another graph, and needs another driver."""
        return self._held.state.has_ended or self._held.state.attempt != self._run_attempt

    async def _commit(self, builder: TurnBuilder) -> None:
        """Append the turn. Raises Conflict, Unavailable."""
        if builder.started:
            self._context.failpoint(FailPoint.UNCLAIMED)
        if builder.turn.run.has_ended:
            await self._stop_steps(builder.turn)
        self._held = await append_turn(self._context.streams, self._held, builder.turn, self._create_metadata())
        self._context.step_counts.add(self._graph, builder.turn.facts)
        if self._held.state.has_ended and self._held.state.has_family:
            with suppress(Unavailable):  # `Families.prune` finds what is left
                await self._context.families.remove(self._held.stream_id)

    async def _stop_steps(self, turn: Turn) -> None:
        """Stop steps and children before the run's end is recorded: afterwards nothing would stop them."""
        self._context.failpoint(FailPoint.RUN_ENDING)
        await cancel_tasks(self._tasks)
        for refusal in self._aborted:
            turn.refuse_before_end(refusal)
        if turn.run.status is not RunStatus.COMPLETED:  # a completed run has settled all its steps, and their children
            await self._children.cancel(replace(self._held, state=turn.run), self._graph, self._create_metadata())
        self._context.failpoint(FailPoint.RUN_UNENDED)

    async def _build_turn(self, results: list[tuple[str, Result]], *, resuming: bool) -> TurnBuilder:
        """Build a turn, and again once conditions that would hold the event loop are evaluated in a worker."""
        self._verdicts = {}
        while True:
            try:
                return await self._try_build_turn(results, resuming=resuming)
            except SlowEdges as slow:
                try:
                    slow_work = self._context.executors.slow.run_in_worker(self._held.workspace_id, slow.work)
                    self._verdicts[slow.key] = await slow_work
                except ExpressionFault as fault:
                    self._verdicts[slow.key] = fault

    async def _try_build_turn(self, results: list[tuple[str, Result]], *, resuming: bool) -> TurnBuilder:
        if not resuming and self._held.state.steps:
            builder = self._create_builder()
            builder.schedule_after(builder.settle(results))
            return builder
        self._data = await resolve_run_data(self._context.contents, self._held, self._context.public_url)
        recorded = await self._resolve_recorded() if resuming else []
        # A result that arrived during these reads belongs to this turn too: its step must not be started again.
        results.extend(self._results)
        self._results = []
        builder = self._create_builder()
        if resuming:
            builder.resume([*results, *recorded])
        else:
            builder.schedule(find_due_at_start(self._graph))
            if self._is_new:  # else an engine may have been lost here, and steps claimed first count as lost attempts
                run_inline_steps(builder, self._run_inline, self._context.clock)
        return builder

    async def _resolve_recorded(self) -> list[tuple[str, Result]]:
        """Return results that need no call: decisions, kept outputs, overdue steps, attempts lost too often."""
        context, held = self._context, self._held
        overdue = await resolve_overdue(context.contents, held, self._graph, context.clock(), self._tasks)
        lost = fail_repeatedly_lost(held.state, context.owner.epoch, context.lost_attempts_in_a_row)
        return [*await resolve_recorded_results(context.contents, held), *overdue, *lost]

    def _create_builder(self) -> TurnBuilder:
        turn = Turn(self._held.state, self._context.clock())
        if self._context.families.is_stopped(turn.run.root_run_id) and not turn.run.has_ended:
            # At once, whichever of the runs between the root and this one are driven elsewhere or not at all.
            command = CancelRun(target_id=self._held.stream_id, user_id=self._actor.id, reason=PARENT_ENDED)
            turn.add(cancel_run(command, turn.run, None, turn.now))
        return TurnBuilder(
            turn=turn,
            graph=self._graph,
            data=self._data,
            owner=self._context.owner,
            random=self._context.random,
            busy=self._tasks,
            run_data_bytes=self._context.run_data_bytes,
            verdicts=self._verdicts,
        )

    def _create_metadata(self) -> Metadata:
        return Metadata(
            actor=self._actor,
            correlation_id=self._begun_by.correlation_id,
            causation=self._held.position,
            traceparent=self._begun_by.traceparent,
        )

    async def _execute(self, started: list[str]) -> None:
        """Execute the steps that a turn has claimed: inline, or each in a task."""
        clock = self._context.clock
        until = clock() + INLINE_TIME_MAX
        for node in started:
            if clock() >= until:
                await asyncio.sleep(0)  # let other tasks run
                until = clock() + INLINE_TIME_MAX
            result = self._run_inline(self._held.state, node)
            if result is not None:
                self._results.append((node, result))
            elif node not in self._tasks:
                self._tasks[node] = asyncio.create_task(self._attempt(node))
        if self._held.state.busy + self._held.state.waiting > len(self._tasks) + len(self._results):
            self._start_retry_timers()
        for node in self._children.list_untended(self._held.state, self._tasks, self._results):
            self._tasks[node] = asyncio.create_task(self._tend(node))

    def _start_retry_timers(self) -> None:
        held_until = self._context.clock() + timedelta(seconds=self._context.held_back_off_seconds)
        for node, step in self._held.state.steps.items():
            if step.status is not StepStatus.RETRYING or node in self._tasks or step.retry_at is None:
                continue
            if step.retry_at <= held_until:
                self._tasks[node] = asyncio.create_task(self._retry_at(node, step.retry_at))

    def _run_inline(self, run: Run, node: str) -> Result | None:
        if not is_inline(self._graph.nodes[node]):
            return None
        self._context.failpoint(FailPoint.INLINE)
        return self._context.executors.execute_inline(self._create_call(run, node))

    def _create_call(self, run: Run, node: str) -> StepCall:
        attempt = run.steps[node].attempt
        return StepCall(
            workspace_id=self._held.workspace_id,
            project_id=self._held.project_id,
            run_id=self._held.stream_id,
            run=run,
            graph=self._graph,
            node=self._graph.nodes[node],
            attempt=attempt,
            data=self._data,
            traceparent=self._begun_by.traceparent,
            reject=lambda rejected: self._add_result(node, rejected),
            announce=lambda asked: self._add_result(node, asked),
            aborted=lambda usage: self._add_aborted(node, attempt, usage),
        )

    def _add_aborted(self, node: str, attempt: int, usage: Usage) -> None:
        self._aborted.append(RefuseResult(node=node, attempt=attempt, reason=ABORTED, usage=usage))

    async def _attempt(self, node: str) -> None:
        self._context.failpoint(FailPoint.CLAIMED)
        result = await self._context.executors.execute(self._create_call(self._held.state, node))
        self._context.failpoint(FailPoint.CALLED)
        self._finish_task(node, result)

    async def _retry_at(self, node: str, at: datetime) -> None:
        await self._context.sleep_until(at)
        self._context.failpoint(FailPoint.TIMER_DUE)
        self._finish_task(node, RetryDue())

    async def _tend(self, node: str) -> None:
        result = await self._children.tend(self._held, self._graph.nodes[node], self._create_metadata())
        if result is not None:
            self._finish_task(node, result)
        else:  # the end of a child will wake the run again, so it need not stay in memory until then
            del self._tasks[node]
            self._wake.set()

    def _finish_task(self, node: str, result: Result) -> None:
        del self._tasks[node]
        self._add_result(node, result)

    def _add_result(self, node: str, result: Result) -> None:
        self._results.append((node, result))
        self._wake.set()

    async def _wait_for_news(self) -> bool:
        """Wait for a result, or until the run is stale; return whether the turn must resume from fresh state."""
        if not self._results and not self._is_stale:
            self._wake.clear()
            await self._wake.wait()
        if not self._is_stale:
            return False
        await self._reload()
        return True

    async def _recover(self, fault: Exception) -> None:
        """Back off and read the run again after a turn that was not appended. Raises RunLost after many conflicts."""
        self._back_off.failures += 1
        if isinstance(fault, Unavailable):  # an outage may last for hours, and is not the fault of this run
            self._outages = self._outages or OutageLog(
                "engine", lost="run.append_failed", back="run.append_resumed", run=str(self._held.stream_id)
            )
            self._outages.note_failure(str(fault))
            await self._back_off.wait()
        elif self._back_off.failures > FAILURES_MAX:
            raise RunLost from fault
        await self._reload()

    async def _reload(self) -> None:
        """Read the run again. While the log is unavailable keep what is held; the next append conflicts."""
        self._is_stale = False
        before, context = self._held, self._context
        try:
            self._held = await context.streams.reload(RUN, before.stream_id) or before
        except Unavailable:
            self._is_stale = True
            await BackOff().fail()
        if (taken_by := find_new_claim(before.state, self._held.state, context.owner.epoch)) is not None:
            refusals = build_refusals(before.state, self._results)
            metadata = self._create_metadata()
            await append_refusals(context.streams, self._held, refusals, context.clock, metadata)
            raise RunTaken(taken_by)


async def cancel_tasks(tasks: dict[str, asyncio.Task[None]]) -> None:
    """Cancel all tasks, wait until each is over however it ends, and clear the mapping."""
    if not tasks:
        return
    cancelled = list(tasks.values())
    tasks.clear()
    for task in cancelled:
        task.cancel()
    await asyncio.gather(*cancelled, return_exceptions=True)
