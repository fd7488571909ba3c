"""A run played turn after turn with the engine's own schedule and progress, without I/O and in random order."""

from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, TypeVar
from uuid import UUID

from commands.noun import RUN, Loaded, absent
from commands.run import DecideStep, decide_step
from commands.turn import Turn
from domain.graph import ErrorClass, HumanNode
from domain.graph_compiled import CompiledGraph, compile_graph
from domain.payload import Payload
from domain.project import Project, ProjectStatus, Role
from domain.run import Run, evolve
from domain.run_facts import Pins, RunFact, RunStarted, StepError, StepFailed, StepStarted, StepWaiting, WaitFor
from domain.run_steps import StepStatus
from engine.data import RunData
from engine.progress import Owner, Progress
from engine.resolving import decided, resolved
from engine.schedule import due_again, due_first
from engine.step import Failed, Gave, Result, TryAgain, Waits
from tests.engine.random_graphs import Plot

T = TypeVar("T")
NOBODY = UUID(int=0)
STARTED_AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
TEAM = Project(status=ProjectStatus.ACTIVE, team={"rita": Role.REVIEWER})


class NoContents:
    """A content store without contents: whatever is played here stands in the facts themselves."""

    async def put(self, workspace_id: UUID, content: bytes, media_type: str) -> str:
        raise AssertionError(
            f"{media_type} of {len(content)} bytes in {workspace_id}: all that is played fits in facts"
        )

    async def get(self, workspace_id: UUID, reference: str) -> tuple[bytes, str]:
        raise AssertionError(f"{reference} in {workspace_id}: all that is played stands in the facts")


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """Give what a coroutine returns that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits for something")


@dataclass
class Play:
    """One run. `turns` are the facts as they were appended, each turn at once."""

    plot: Plot
    random: Random
    epoch: int = 1
    turns: list[tuple[RunFact, ...]] = field(default_factory=list[tuple[RunFact, ...]])
    run: Run = field(default_factory=Run)
    under_way: set[str] = field(default_factory=set[str])
    carried_out: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])
    graph: CompiledGraph = field(init=False)
    data: RunData = field(init=False)

    def __post_init__(self) -> None:
        self.graph = compile_graph(self.plot.graph)

    def to_the_end(self) -> "Play":
        """Play until the run has ended, or only waits for people who never decide."""
        started = RunStarted(
            workflow_id=NOBODY,
            workflow_version=1,
            inputs=Payload(value=self.plot.inputs),
            pins=Pins(),
            started_at=STARTED_AT,
        )
        self._record((started,))
        self._first_turn()
        return self._on()

    def taken_over(self, kept: int, random: Random) -> "Play":
        """Play on from the first `kept` turns of this run, as the next owner does."""
        next_owner = Play(self.plot, random, epoch=self.epoch + 1)
        for facts in self.turns[:kept]:
            next_owner._record(facts)
        # Whatever was claimed may have been carried out, so none of these attempts is the next owner's to carry out.
        next_owner.carried_out = {(f.node, f.attempt) for f in next_owner.facts if isinstance(f, StepStarted)}
        if not next_owner.run.ended:
            next_owner._resuming_turn([])
        return next_owner._on()

    @property
    def facts(self) -> list[RunFact]:
        return [fact for turn in self.turns for fact in turn]

    def _on(self) -> "Play":
        while not self.run.ended:
            decidable = self._decidable()
            if decidable and (not self.under_way or self.random.random() < 0.3):
                self._decide(self.random.choice(decidable))
                self._resuming_turn(self._some_results() if self.random.random() < 0.5 else [])
            elif self.under_way:
                self._turn(self._some_results())
            else:
                break
        return self

    def _some_results(self) -> list[tuple[str, Result]]:
        ready = sorted(self.under_way)
        chosen = self.random.sample(ready, min(len(ready), self.random.randint(1, 3)))
        self.under_way.difference_update(chosen)
        return [(node, self._result(node)) for node in chosen]

    def _result(self, node: str) -> Result:
        step = self.run.steps[node]
        if step.status is StepStatus.RETRYING:
            return TryAgain()
        assert step.status is StepStatus.RUNNING
        assert (node, step.attempt) not in self.carried_out, "an attempt is carried out twice"
        self.carried_out.add((node, step.attempt))
        if isinstance(self.graph.nodes[node], HumanNode):
            return Waits(
                StepWaiting(
                    node=node,
                    attempt=step.attempt,
                    waiting_for=WaitFor.HUMAN,
                    roles=("reviewer",),
                    outcomes=("approve", "reject"),
                    waiting_since=STARTED_AT,
                )
            )
        behaviour = self.plot.behaviours[node]
        if behaviour.fails is None or self._failures(node) < behaviour.fails:
            return Failed(StepError(error_class=behaviour.error_class, message="as planned"))
        return Gave(behaviour.output, Payload(value=behaviour.output))

    def _failures(self, node: str) -> int:
        return sum(
            isinstance(fact, StepFailed) and fact.node == node and fact.error.error_class is not ErrorClass.OWNER_LOST
            for fact in self.facts
        )

    def _decidable(self) -> list[str]:
        return [
            node
            for node, step in self.run.steps.items()
            if step.status is StepStatus.WAITING and self.plot.behaviours[node].output is not None
        ]

    def _decide(self, node: str) -> None:
        command = DecideStep(
            target_id=NOBODY,
            node=node,
            outcome=str(self.plot.behaviours[node].output),
            data={},
            data_payload=Payload(value={}),
            comment=None,
            user_id="rita",
        )
        self._record(decide_step(command, self.run, TEAM, STARTED_AT))

    def _first_turn(self) -> None:
        self.data = at_once(resolved(NoContents(), self._held()))
        progress = self._progress()
        progress.carry_on(due_first(self.graph))
        self._commit(progress)

    def _turn(self, results: Sequence[tuple[str, Result]]) -> None:
        progress = self._progress()
        progress.onward(progress.settle(results))
        self._commit(progress)

    def _resuming_turn(self, results: Sequence[tuple[str, Result]]) -> None:
        self.data = at_once(resolved(NoContents(), self._held()))
        progress = self._progress()
        progress.settle([*results, *at_once(decided(NoContents(), self._held()))])
        progress.carry_on(due_again(self.graph, progress.turn.run))
        self._commit(progress)

    def _progress(self) -> Progress:
        return Progress(
            turn=Turn(self.run, STARTED_AT + timedelta(seconds=len(self.turns))),
            graph=self.graph,
            data=self.data,
            owner=Owner("engine", self.epoch),
            random=self.random,
            busy=self.under_way,
        )

    def _commit(self, progress: Progress) -> None:
        if progress.turn.facts:
            self._record(tuple(progress.turn.facts))
        assert len(set(progress.started)) == len(progress.started), "a step is carried out twice in a turn"
        assert not self.under_way.intersection(progress.started), "a step is carried out while it is under way"
        self.under_way.update(progress.started)
        self.under_way.update(n for n, step in self.run.steps.items() if step.status is StepStatus.RETRYING)

    def _record(self, facts: tuple[RunFact, ...]) -> None:
        self.turns.append(facts)
        for fact in facts:
            self.run = evolve(self.run, fact)

    def _held(self) -> Loaded[Run]:
        beginning = absent(RUN, NOBODY, NOBODY, None)
        return Loaded(
            stream_id=NOBODY,
            version=len(self.facts),
            position=0,
            workspace_id=NOBODY,
            project_id=None,
            created_at=beginning.created_at,
            updated_at=beginning.updated_at,
            state=self.run,
        )
