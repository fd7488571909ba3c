"""A simulated run: turn after turn by the engine's own schedule and turn builder, without I/O, on a simulated clock.

Events of the same time are executed in random order: results, decisions, timers, ends of children, appends that fail,
engines that are lost.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from uuid import UUID

from msgspec.structs import replace

from commands.aggregates import RUN, new_stream
from commands.runs.lifecycle import CancelRun, cancel_run
from commands.runs.start import DecisionSources, decide_step
from commands.runs.steps import RefuseResult
from commands.runs.turn import Turn
from domain.folded import Folded
from domain.payload import Payload
from domain.project import Project, ProjectStatus, Role
from domain.runs.facts import Parent, Pins, RunFact, RunStarted
from domain.runs.run import Run, evolve
from domain.runs.steps import StepStatus
from engine.cluster.owner import Owner
from engine.executors import is_inline
from engine.steps.contract import Result, RetryDue, StepCall
from engine.steps.run_data import RunData
from engine.turns.first_turn import run_inline_steps
from engine.turns.resolve import resolve_overdue, resolve_recorded_results, resolve_run_data
from engine.turns.schedule import find_due_at_start, get_due_time
from engine.turns.turn_builder import TurnBuilder
from tests.support.engine.simulator.faults import NO_FAULTS, Faults
from tests.support.engine.simulator.random_graphs import GraphCase
from tests.support.engine.simulator.simulated_children import SimulatedChildren
from tests.support.engine.simulator.simulated_results import (
    CALL,
    NoContents,
    build_decision,
    compute_decision_time,
    compute_duration,
    compute_result,
    count_failures,
    run_now,
)

NOBODY = UUID(int=0)
STARTED_AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
TEAM = Project(status=ProjectStatus.ACTIVE, team={"rita": Role.REVIEWER})
MOST_ADVANCES = 20_000


@dataclass
class Simulator:
    """One run. `turns` are the appended facts by turn; `cancel_at` is the time of a cancellation."""

    graph_case: GraphCase
    random: Random
    faults: Faults = NO_FAULTS
    now: datetime = STARTED_AT
    parent: Parent | None = None
    run_id: UUID = NOBODY
    epoch: int = 1
    losses: int = 0
    cancel_at: datetime | None = None
    turns: list[tuple[RunFact, ...]] = field(default_factory=list[tuple[RunFact, ...]])
    run: Run = field(default_factory=Run)
    under_way: dict[str, datetime] = field(default_factory=dict[str, datetime])
    carried_out: set[tuple[int, str, int]] = field(default_factory=set[tuple[int, str, int]])
    unrecorded: list[tuple[str, Result]] = field(default_factory=list[tuple[str, Result]])
    moved: bool = False
    advances: int = 0
    data: RunData = field(init=False)
    children: SimulatedChildren = field(init=False)

    def __post_init__(self) -> None:
        self.children = SimulatedChildren(self)

    def begin(self) -> "Simulator":
        """Start the run, and execute its first turn."""
        started = RunStarted(
            workflow_id=NOBODY,
            workflow_version=1,
            inputs=Payload(value=self.graph_case.inputs),
            pins=Pins(),
            parent=self.parent,
            started_at=self.now,
        )
        self.record((started,))
        if self.cancel_at == self.now:
            self.cancel()
        self.take_over()
        return self

    def run_to_end(self) -> "Simulator":
        """Simulate until the run has ended, or waits for an event that never comes."""
        while self.advance():
            pass
        return self

    @property
    def facts(self) -> list[RunFact]:
        return [fact for turn in self.turns for fact in turn]

    def next_at(self) -> datetime | None:
        """Return the time of the next event; None if there is none."""
        return min((at for at, _ in self._moves()), default=None)

    def advance(self) -> bool:
        """Advance the clock to the next event and execute one event of that time; return false if there is none."""
        self.advances += 1
        assert self.advances < MOST_ADVANCES, "it never comes to an end"
        moves = list(self._moves())
        if not moves:
            return False
        self.now = max(self.now, min(at for at, _ in moves))
        _, move = self.random.choice([due for due in moves if due[0] <= self.now])
        move()
        if not self.run.has_ended and self._is_lost():
            self._lose_engine()
        return True

    def _is_lost(self) -> bool:
        """Return whether the engine is lost now."""
        return self.losses < self.faults.most_losses and self.random.random() < self.faults.loss

    def _moves(self) -> Iterator[tuple[datetime, Callable[[], None]]]:
        yield from self.children.moves()
        if self.run.has_ended:
            return
        if self.moved or self.unrecorded:
            yield self.now, self._resume_turn
        for at in self.under_way.values():
            yield at, self._settle
        if self.cancel_at is not None and not self.run.cancel_requested:
            yield self.cancel_at, self.cancel
        lag = timedelta(seconds=self.faults.lag_seconds)
        for node, step in self.run.steps.items():
            if (at := compute_decision_time(step, self.graph_case.behaviours[node])) is not None:
                yield at, partial(self._decide, node)
            due = get_due_time(step)
            if due is not None and node not in self.under_way and not self.children.is_waiting_for_children(step):
                yield due + lag, self._resume_turn

    def take_over(self) -> None:
        """Start to drive the run, as an engine does at its start or after a takeover."""
        self.under_way.clear()
        self.unrecorded.clear()
        self.execute_turn([], resuming=bool(self.run.steps))

    def cancel(self) -> None:
        """Cancel the run, unless it has ended."""
        if not self.run.has_ended and not self.run.cancel_requested:
            self.record(cancel_run(CancelRun(target_id=self.run_id, user_id="ada"), self.run, None, self.now))
            self.moved = True

    def _lose_engine(self) -> None:
        """Lose the engine: another takes the run over, and open attempts may end too late."""
        self.losses += 1
        self.epoch += 1
        late = [(node, self.run.steps[node].attempt) for node in self.under_way]
        self.take_over()
        for node, attempt in late:
            if self.random.random() < 0.3:
                turn = Turn(self.run, self.now)
                turn.decide(RefuseResult(node=node, attempt=attempt, reason="it is too late", usage=CALL))
                self.record(tuple(turn.facts))
                self.moved = True

    def _resume_turn(self) -> None:
        self.execute_turn(self._some_results(least=0), resuming=True)

    def _settle(self) -> None:
        spurious = self.random.random() < self.faults.spurious
        self.execute_turn(self._some_results(least=1), resuming=spurious or self.moved)

    def _some_results(self, least: int) -> list[tuple[str, Result]]:
        ready = sorted(node for node, at in self.under_way.items() if at <= self.now)
        chosen = self.random.sample(ready, self.random.randint(min(least, len(ready)), len(ready)))
        for node in chosen:
            del self.under_way[node]
        return [(node, self._result(node)) for node in chosen]

    def _result(self, node: str) -> Result:
        step = self.run.steps[node]
        if step.status is StepStatus.RETRYING:
            return RetryDue()
        assert step.status is StepStatus.RUNNING
        return compute_result(
            self._call(self.run, node), self.graph_case.behaviours[node], count_failures(self.facts, node)
        )

    def _decide(self, node: str) -> None:
        command = build_decision(self.run_id, node, self.graph_case.behaviours[node])
        self.record(decide_step(command, self.run, DecisionSources(project=TEAM), self.now))
        self.moved = True

    def execute_turn(self, results: Sequence[tuple[str, Result]], *, resuming: bool) -> None:
        """Execute one turn, as `engine.driving.driver.Driver` does."""
        results = [*self.unrecorded, *results]
        self.unrecorded = []
        self.moved = False
        if not resuming and self.run.steps:
            progress = self._progress()
            progress.schedule_after(progress.settle(results))
        else:
            progress = self._first_or_resuming(results, resuming=resuming)
        if self.random.random() < self.faults.conflict:
            self.unrecorded, self.moved = results, True
            return
        self._commit(progress)

    def _first_or_resuming(self, results: Sequence[tuple[str, Result]], *, resuming: bool) -> TurnBuilder:
        self.data = run_now(resolve_run_data(NoContents(), self.get_folded()))
        progress = self._progress()
        if resuming:
            late = run_now(
                resolve_overdue(
                    NoContents(), self.get_folded(), self.graph_case.compiled_graph, self.now, self.under_way
                )
            )
            said = run_now(resolve_recorded_results(NoContents(), self.get_folded()))
            progress.resume([*results, *said, *late])
            return progress
        progress.schedule(find_due_at_start(self.graph_case.compiled_graph))
        run_inline_steps(progress, self._at_once, lambda: self.now)
        return progress

    def _at_once(self, run: Run, node: str) -> Result | None:
        behaviour = self.graph_case.behaviours[node]
        if behaviour.takes or not is_inline(self.graph_case.compiled_graph.nodes[node]):
            return None
        return compute_result(self._call(run, node), behaviour, 0)

    def _progress(self) -> TurnBuilder:
        return TurnBuilder(
            turn=Turn(self.run, self.now),
            graph=self.graph_case.compiled_graph,
            data=self.data,
            owner=Owner("engine", self.epoch),
            random=self.random,
            busy=self.under_way,
        )

    def _call(self, run: Run, node: str) -> StepCall:
        return StepCall(
            workspace_id=NOBODY,
            run_id=self.run_id,
            run=run,
            graph=self.graph_case.compiled_graph,
            node=self.graph_case.compiled_graph.nodes[node],
            attempt=run.steps[node].attempt,
            data=self.data,
            traceparent=None,
        )

    def _commit(self, progress: TurnBuilder) -> None:
        if progress.turn.run.has_ended:
            self.children.cancel()
            if self._is_lost():  # between what the children are asked and the end that they are asked for
                self._lose_engine()
                return
        if progress.turn.facts:
            self.record(tuple(progress.turn.facts))
        if self.run.has_ended:
            self.under_way.clear()
            return
        if progress.ends_next_turn:
            self.execute_turn([], resuming=True)
            return
        for node in progress.started:
            attempt = self.run.attempt, node, self.run.steps[node].attempt
            assert attempt not in self.carried_out, f"{node} is carried out twice"
            assert node not in self.under_way, f"{node} is carried out while it is under way"
            self.carried_out.add(attempt)
            seconds = compute_duration(self._call(self.run, node), self.graph_case.behaviours[node])
            self.under_way[node] = self.now + timedelta(seconds=seconds)
        self._wait_to_retry()
        self.children.start_due()

    def _wait_to_retry(self) -> None:
        held_until = self.now + timedelta(seconds=self.faults.held_back_off_seconds)
        for node, step in self.run.steps.items():
            if step.status is StepStatus.RETRYING and step.retry_at is not None and step.retry_at <= held_until:
                self.under_way.setdefault(node, step.retry_at)

    def record(self, facts: tuple[RunFact, ...]) -> None:
        """Append facts, and fold them."""
        self.turns.append(facts)
        for fact in facts:
            self.run = evolve(self.run, fact)

    def get_folded(self) -> Folded[Run]:
        """Return the run as an engine holds it."""
        beginning = new_stream(RUN, self.run_id, NOBODY, None, self.now)
        return replace(beginning, version=len(self.facts), state=self.run)
