"""Driving one run: turn after turn, until it has ended or waits for someone else."""

import asyncio
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from msgspec.structs import replace

from commands.aggregates import RUN
from commands.runs.steps import RefuseResult
from commands.runs.turn import Turn, append_turn
from domain.folded import Folded
from domain.graphs.compiled import CompiledGraph
from domain.runs.facts import Usage
from domain.runs.run import Run, RunStatus
from domain.runs.steps import StepStatus
from engine.children.children import Nursery
from engine.children.families import Families
from engine.driving.cancel_tasks import stop
from engine.executors import is_immediate
from engine.failpoints import FailPoint
from engine.steps.contract import Result, RetryDue, StepCall
from engine.steps.run_data import RunData
from engine.turns.context import Parts
from engine.turns.first_turn import LONGEST_AT_ONCE, do_at_once
from engine.turns.lost_attempts import ABORTED, RunTaken, claimed_since, late, lost_too_often, refuse
from engine.turns.resolve import answered, resolved, timed_out
from engine.turns.schedule import due_first
from engine.turns.turn_builder import Progress
from store.errors import Conflict, Unavailable
from store.log.appender import back_off_seconds
from store.log.records import Actor, Metadata

MOST_FAILURES: Final = 20


class RunLost(Exception):  # noqa: N818  # told to the engine, which lets the run go
    """The run could not be moved in many tries: someone else keeps moving it, or the log is away."""


class Driver:
    """Drives one run that this engine owns. It holds no state that the log could not rebuild."""

    def __init__(
        self,
        parts: Parts,
        held: Folded[Run],
        graph: CompiledGraph,
        begun_by: Metadata,
        nursery: Nursery,
        *,
        is_new: bool = False,
    ) -> None:
        """Take a run as folded; `begun_by` is the metadata of its first fact, `is_new` that it began just now."""
        self._parts = parts
        self._graph = graph
        self._held = held
        self._run_attempt = held.state.attempt
        self._begun_by = begun_by
        self._actor = Actor("engine", parts.owner.name)
        self._data = RunData(None)
        self._results: list[tuple[str, Result]] = []
        self._aborted: list[RefuseResult] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._arrived = asyncio.Event()
        self._moved = False
        self._families = Families(nursery)
        self._is_new = is_new

    @property
    def was_moved(self) -> bool:
        """Tell whether someone else has moved the run since it was last read, or has retried it."""
        return self._moved or self._held.state.attempt != self._run_attempt

    def moved(self, version: int) -> None:
        """Say that the run has come to a version; one that is not ours means that someone else moved it."""
        if version > self._held.version:
            self._moved = True
            self._arrived.set()

    def child_ended(self, node: str, item: int, run_id: UUID) -> None:
        """Say that a child of a step has ended."""
        if self._families.ended(node, item, run_id):
            self._arrived.set()

    def look_again(self) -> None:
        """Say that the time of a step may have come."""
        self._moved = True
        self._arrived.set()

    async def drive(self) -> None:
        """Go on until the run has ended, or waits for someone else with nothing under way. Raises RunLost, RunTaken."""
        resuming = bool(self._held.state.steps)
        failures = 0
        try:
            while not self._is_over():
                results, self._results = self._results, []
                try:
                    progress = await self._turn(results, resuming=resuming)
                    if progress.started:
                        self._parts.failpoint(FailPoint.UNCLAIMED)
                    if progress.turn.run.ended:
                        await self._leave_nothing_behind(progress.turn)
                    self._held = await append_turn(self._parts.streams, self._held, progress.turn, self._metadata())
                    self._parts.tally.took(self._graph, progress.turn.facts)
                except (Conflict, Unavailable) as fault:
                    failures += 1
                    self._results = results + self._results
                    await self._reload(fault, failures)
                    resuming = True
                    continue
                failures = 0
                if results:
                    self._parts.failpoint(FailPoint.RECORDED)
                if progress.will_end:
                    resuming = True  # by what is recorded now, like anybody who took the run over
                    continue
                if self._is_over():
                    self._parts.failpoint(FailPoint.RUN_ENDED)
                    return
                await self._carry_out(progress)
                if self._is_idle():
                    return
                resuming = await self._something_happens()
        finally:
            await stop(self._tasks)
            self._parts.streams.keep(self._held)

    async def _leave_nothing_behind(self, turn: Turn) -> None:
        """Stop what is under way before the run's end is recorded: after it nobody would look for what still runs."""
        self._parts.failpoint(FailPoint.RUN_ENDING)
        await stop(self._tasks)
        for one in self._aborted:
            turn.give_before_the_end(one)
        if turn.run.status is not RunStatus.COMPLETED:  # else all its steps have settled, and no child is without them
            await self._families.cancel(replace(self._held, state=turn.run), self._graph, self._metadata())
        self._parts.failpoint(FailPoint.RUN_UNENDED)

    def _is_over(self) -> bool:
        """Tell whether the run has ended; one retried since then may have another graph, and needs another driver."""
        return self._held.state.ended or self._held.state.attempt != self._run_attempt

    async def _turn(self, results: list[tuple[str, Result]], *, resuming: bool) -> Progress:
        if not resuming and self._held.state.steps:
            progress = self._progress()
            progress.onward(progress.settle(results))
            return progress
        self._data = await resolved(self._parts.contents, self._held)
        answers = await self._arrived_by_itself() if resuming else []
        # What arrived while values were read belongs to this turn too: its step must not be started once more.
        results.extend(self._results)
        self._results = []
        progress = self._progress()
        if resuming:
            progress.resume([*results, *answers])
        else:
            progress.carry_on(due_first(self._graph))
            if self._is_new:  # else an engine may have been lost here already, and what is claimed first is counted
                do_at_once(progress, self._at_once, self._parts.clock)
        return progress

    async def _arrived_by_itself(self) -> list[tuple[str, Result]]:
        """Give what came without this engine: decisions, kept outputs, times that have come, attempts given up."""
        parts, held = self._parts, self._held
        late = await timed_out(parts.contents, held, self._graph, parts.clock(), self._tasks)
        given_up = lost_too_often(held.state, parts.owner.epoch, parts.lost_attempts_in_a_row)
        return [*await answered(parts.contents, held), *late, *given_up]

    def _progress(self) -> Progress:
        return Progress(
            turn=Turn(self._held.state, self._parts.clock()),
            graph=self._graph,
            data=self._data,
            owner=self._parts.owner,
            random=self._parts.random,
            busy=self._tasks,
            most_data_bytes=self._parts.run_data_bytes,
        )

    def _metadata(self) -> Metadata:
        return Metadata(
            actor=self._actor,
            correlation_id=self._begun_by.correlation_id,
            causation=self._held.position,
            traceparent=self._begun_by.traceparent,
        )

    async def _carry_out(self, progress: Progress) -> None:
        until = self._parts.clock() + LONGEST_AT_ONCE
        for node in progress.started:
            if self._parts.clock() >= until:
                await asyncio.sleep(0)  # a turn for everybody else
                until = self._parts.clock() + LONGEST_AT_ONCE
            result = self._at_once(self._held.state, node)
            if result is not None:
                self._results.append((node, result))
            elif node not in self._tasks:
                self._tasks[node] = asyncio.create_task(self._attempt(node))
        if self._held.state.busy + self._held.state.waiting > len(self._tasks) + len(self._results):
            self._wait_to_retry()
        for node in self._families.to_tend(self._held.state, self._tasks, self._results):
            self._tasks[node] = asyncio.create_task(self._tend(node))

    def _wait_to_retry(self) -> None:
        held_until = self._parts.clock() + timedelta(seconds=self._parts.held_back_off_seconds)
        for node, step in self._held.state.steps.items():
            if step.status is not StepStatus.RETRYING or node in self._tasks or step.retry_at is None:
                continue
            if step.retry_at <= held_until:
                self._tasks[node] = asyncio.create_task(self._retry_at(node, step.retry_at))

    def _at_once(self, run: Run, node: str) -> Result | None:
        if not is_immediate(self._graph.nodes[node]):
            return None
        self._parts.failpoint(FailPoint.INLINE)
        return self._parts.executors.execute_inline(self._call(run, node))

    def _call(self, run: Run, node: str) -> StepCall:
        return StepCall(
            workspace_id=self._held.workspace_id,
            run_id=self._held.stream_id,
            run=run,
            graph=self._graph,
            node=self._graph.nodes[node],
            attempt=run.steps[node].attempt,
            data=self._data,
            traceparent=self._begun_by.traceparent,
            reject=lambda rejected: self._tell(node, rejected),
            aborted=lambda usage: self._abort(node, run.steps[node].attempt, usage),
        )

    def _abort(self, node: str, attempt: int, usage: Usage) -> None:
        self._aborted.append(RefuseResult(node=node, attempt=attempt, reason=ABORTED, usage=usage))

    async def _attempt(self, node: str) -> None:
        self._parts.failpoint(FailPoint.CLAIMED)
        result = await self._parts.executors.execute(self._call(self._held.state, node))
        self._parts.failpoint(FailPoint.CALLED)
        self._arrive(node, result)

    async def _retry_at(self, node: str, at: datetime) -> None:
        await self._parts.until(at)
        self._parts.failpoint(FailPoint.TIMER_DUE)
        self._arrive(node, RetryDue())

    async def _tend(self, node: str) -> None:
        result = await self._families.tend(self._held, self._graph.nodes[node], self._metadata())
        if result is not None:
            self._arrive(node, result)
        else:  # the end of a child will wake the run again: it need not stay in memory until then
            del self._tasks[node]
            self._arrived.set()

    def _arrive(self, node: str, result: Result) -> None:
        del self._tasks[node]
        self._tell(node, result)

    def _tell(self, node: str, result: Result) -> None:
        self._results.append((node, result))
        self._arrived.set()

    def _is_idle(self) -> bool:
        return not self._results and not self._tasks and not self._moved

    async def _something_happens(self) -> bool:
        """Wait for a result, or for someone else to move the run; true when the state must be read again."""
        if not self._results and not self._moved:
            self._arrived.clear()
            await self._arrived.wait()
        if not self._moved:
            return False
        await self._read_again()
        return True

    async def _reload(self, fault: Exception, failures: int) -> None:
        if failures > MOST_FAILURES:
            raise RunLost from fault
        if isinstance(fault, Unavailable):
            structlog.get_logger("engine").warning(
                "run.append_failed", run=str(self._held.stream_id), reason=str(fault)
            )
            await asyncio.sleep(back_off_seconds(failures))
        await self._read_again()

    async def _read_again(self) -> None:
        """Take the run as the log has it; while the log is away keep what is held, and conflict again."""
        self._moved = False
        before = self._held
        try:
            self._held = await self._parts.streams.reload(RUN, self._held.stream_id) or self._held
        except Unavailable:
            self._moved = True
            await asyncio.sleep(back_off_seconds(1))
        if (taken_by := claimed_since(before.state, self._held.state, self._parts.owner.epoch)) is not None:
            parts, unrecorded = self._parts, late(before.state, self._results)
            await refuse(parts.streams, self._held, unrecorded, parts.clock, self._metadata())
            raise RunTaken(taken_by)
