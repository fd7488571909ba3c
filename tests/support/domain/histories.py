"""Random histories: commands of each noun as Hypothesis draws them, decided one after the other on the folded state."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar, cast
from uuid import UUID

import msgspec
from hypothesis import strategies as st
from msgspec import UNSET

from commands.aggregates import ASSET, PROJECT, RUN, WORKFLOW, Noun
from commands.asset import ChangeAsset, CreateAsset
from commands.command import Command, Decider, InProject
from commands.project import ChangeProject, CreateProject
from commands.registry import DECIDERS
from commands.runs.start import DecideStep, DecisionSources, RunSources, StartRun
from commands.runs.steps import (
    CompleteRun,
    CompleteStep,
    FailRun,
    FailStep,
    SkipStep,
    StartStep,
    StepCommand,
    WaitInStep,
)
from commands.runs.turn import Turn
from commands.workflow import (
    ChangeSources,
    ChangeWorkflow,
    CreateWorkflow,
    DuplicateWorkflow,
    DuplicationSources,
    NewWorkflow,
)
from domain.asset import AssetStatus, AssetType
from domain.fact import Fact
from domain.graphs.graph import ErrorClass, Graph
from domain.graphs.validation.semantics import KnownReferences
from domain.payload import Payload
from domain.project import Project, ProjectStatus, Role
from domain.refusal import Refusal
from domain.runs.facts import Pins, StepError, StepWaiting, Usage, WaitFor
from domain.workflow import WorkflowStatus
from tests.support.graphs import edge, graph, node

S = TypeVar("S")
ID: Final = UUID("0192f000-0000-7000-8000-0000000000e1")
NOW: Final = datetime(2026, 3, 1, 12, 0, 0, 123_456, tzinfo=UTC)
PEOPLE: Final = ("ada", "bo", "cy")
NODES: Final = ("a", "b", "c")
GRAPHS: Final = (
    graph(node("a")),
    graph(node("a"), node("b"), edges=[edge("a", "b")]),
    graph(node("a"), node("b"), edges=[edge("a", "b", when="inputs.go == true")]),
    graph(node("a"), node("a")),
)

words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
objects: st.SearchStrategy[dict[str, Any]] = st.dictionaries(words, json_values, max_size=3)
payloads = st.builds(Payload, value=json_values) | st.just(
    Payload(ref="sha256:" + "ab" * 32, bytes=40_000, media_type="application/json")
)
teams = st.dictionaries(st.sampled_from(PEOPLE), st.sampled_from(Role), max_size=3)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.just(UNSET) | strategy


project_commands: Final = st.builds(
    CreateProject, target_id=st.just(ID), name=words, owner=st.sampled_from(PEOPLE), team=teams, settings=objects
) | st.builds(
    ChangeProject,
    target_id=st.just(ID),
    name=maybe(words),
    status=maybe(st.sampled_from((ProjectStatus.ACTIVE, ProjectStatus.ARCHIVED))),
    team=maybe(teams),
    settings=maybe(objects),
)
asset_commands: Final = st.builds(
    CreateAsset,
    target_id=st.just(ID),
    project_id=st.just(ID),
    type=st.sampled_from(AssetType),
    label=words,
    metadata=objects,
    content=payloads,
) | st.builds(
    ChangeAsset,
    target_id=st.just(ID),
    label=maybe(words),
    metadata=maybe(objects),
    content=maybe(payloads),
    status=maybe(st.sampled_from((AssetStatus.ACTIVE, AssetStatus.ARCHIVED))),
)
workflow_commands: Final = (
    st.builds(CreateWorkflow, target_id=st.just(ID), project_id=st.just(ID), name=words, graph=st.sampled_from(GRAPHS))
    | st.builds(
        ChangeWorkflow,
        target_id=st.just(ID),
        name=maybe(words),
        graph=maybe(st.sampled_from(GRAPHS)),
        status=maybe(st.sampled_from((WorkflowStatus.ACTIVE, WorkflowStatus.ARCHIVED))),
    )
    | st.builds(DuplicateWorkflow, target_id=st.just(ID), source_id=st.just(ID), name=st.none() | words)
)

errors = st.builds(StepError, error_class=st.sampled_from(ErrorClass), message=words)
usages = st.none() | st.builds(
    Usage, model=words, input_tokens=st.integers(0, 9), output_tokens=st.integers(0, 9), latency_ms=st.floats(0, 9)
)
nodes = st.sampled_from(NODES)
edges = st.lists(st.integers(0, 5), max_size=3).map(tuple)
waitings = st.builds(
    StepWaiting,
    node=nodes,
    attempt=st.integers(1, 3),
    waiting_for=st.sampled_from(WaitFor),
    until=st.none() | st.just(NOW),
    roles=st.just(("owner",)),
    outcomes=st.just(("approve",)),
    shown=payloads,
    waiting_since=st.just(NOW),
)
step_commands: Final[st.SearchStrategy[StepCommand]] = (
    st.builds(StartStep, node=nodes, executor=words, epoch=st.integers(1, 3))
    | st.builds(CompleteStep, node=nodes, output=payloads, edges_taken=edges, usage=usages)
    | st.builds(
        FailStep,
        node=nodes,
        error=errors,
        retry_at=st.none() | st.just(NOW),
        edges_taken=edges,
        continued_with=st.none() | payloads,
        gave=st.none() | payloads,
        usage=usages,
    )
    | st.builds(WaitInStep, waiting=waitings)
    | st.builds(SkipStep, node=nodes, reason=words)
    | st.builds(CompleteRun, output_nodes=st.lists(nodes, unique=True).map(tuple))
    | st.builds(FailRun, node=nodes, error=errors)
)
decisions: Final[st.SearchStrategy[Any]] = st.builds(
    DecideStep,
    target_id=st.just(ID),
    node=nodes,
    outcome=st.sampled_from(("approve", "reject")),
    data=objects,
    data_payload=payloads,
    comment=st.none() | words,
    user_id=st.sampled_from(PEOPLE),
)
starts: Final[st.SearchStrategy[Any]] = st.builds(
    StartRun, target_id=st.just(ID), workflow_id=st.just(ID), inputs=payloads
)
run_commands: Final[st.SearchStrategy[list[Any]]] = st.lists(step_commands | decisions, max_size=25)
runs: Final[st.SearchStrategy[list[Any]]] = st.tuples(starts, run_commands).map(lambda drawn: [drawn[0], *drawn[1]])

COPIED: Final = DuplicationSources(
    project_id=ID, known=KnownReferences(), name="Flow", version=2, graph=msgspec.convert(GRAPHS[1], Graph)
)
GATHERED: Final[dict[type[Command[Any]], object]] = {
    CreateAsset: InProject(project_id=ID),
    CreateWorkflow: NewWorkflow(project_id=ID, known=KnownReferences()),
    ChangeWorkflow: ChangeSources(),
    DuplicateWorkflow: COPIED,
    StartRun: RunSources(project_id=ID, workflow_version=1, pins=Pins(assets={ID: 2}, flags={"x": True})),
    DecideStep: DecisionSources(
        project=Project(status=ProjectStatus.ACTIVE, team={"ada": Role.OWNER, "bo": Role.OWNER})
    ),
}


def decide_facts(command: Command[Any], state: object, now: datetime = NOW) -> tuple[Fact, ...]:
    """Return the facts of a command; none when it is refused."""
    try:
        decider = cast("Decider[Any, Any, Any]", DECIDERS[type(command)])
        return decider.decide(command, state, GATHERED.get(type(command)), now)
    except Refusal:
        return ()


def fold(noun: Noun[S], facts: Iterable[Fact]) -> S:
    state = noun.initial
    for fact in facts:
        state = noun.evolve(state, fact)
    return state


def history(noun: Noun[Any], commands: Iterable[Command[Any] | StepCommand]) -> tuple[list[Fact], list[Any]]:
    """Return the facts of commands, and the state after each command, folded as it goes."""
    facts: list[Fact] = []
    states: list[Any] = [noun.initial]
    now = NOW
    for command in commands:
        now += timedelta(seconds=1)
        state = states[-1]
        if isinstance(command, Command):
            new = decide_facts(command, state, now)
        else:
            turn = Turn(state, now)
            turn.decide(command)
            new = tuple(turn.facts)
        for fact in new:
            state = noun.evolve(state, fact)
        facts += new
        states.append(state)
    return facts, states


histories: Final[st.SearchStrategy[tuple[Noun[Any], list[Any]]]] = st.one_of(
    st.tuples(st.just(PROJECT), st.lists(project_commands, max_size=10)),
    st.tuples(st.just(ASSET), st.lists(asset_commands, max_size=10)),
    st.tuples(st.just(WORKFLOW), st.lists(workflow_commands, max_size=8)),
    st.tuples(st.just(RUN), runs),
)
"""A noun, and commands to it."""
