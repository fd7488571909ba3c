"""The commands of callers that start runs and decide human steps, and their deciders."""

from datetime import datetime
from functools import partial
from typing import Any, Final
from uuid import UUID

from msgspec import UNSET, Struct

from commands.aggregates import PROJECT, RUN, WORKFLOW
from commands.command import Command, InProject
from commands.repository import Sources
from commands.runs.pins import gather_pins
from domain.expressions.common import ExpressionFault
from domain.graphs.configs import JsonSchema
from domain.graphs.validation.json_schema import find_value_problems, is_quick
from domain.payload import Payload
from domain.project import Project
from domain.refusal import Problem
from domain.runs.facts import (
    RUN_ENDS,
    Parent,
    Pins,
    RunFact,
    RunStarted,
    StepDecided,
    StepFailed,
    StepWaiting,
    WaitFor,
)
from domain.runs.refusals import (
    DeadlinePassed,
    DecisionUnacceptable,
    InputsUnacceptable,
    NotAnAssignee,
    RunAlreadyStarted,
    RunNotRunning,
    StepAlreadyDecided,
    StepNotFound,
    StepNotWaiting,
)
from domain.runs.run import Run, RunStatus
from domain.runs.steps import StepStatus
from domain.workflow import WorkflowNotActive, WorkflowStatus

DECISION_CONFLICTS: Final = (StepDecided, StepFailed, *RUN_ENDS)
"""Facts that conflict with a decision: another decision, a failure of a step, the end of the run."""


class StartRun(Command[Run], frozen=True, kw_only=True):
    """Start a run of a workflow's current version. The engine also starts children, whose `parent` is a step.

    `raw_inputs` are validated by the workflow's `input_schema`; without them nothing is validated.
    `flags` are the feature flags of the caller that the run pins. A child has a `depth` below its `root_run_id`.
    """

    workflow_id: UUID
    inputs: Payload
    raw_inputs: object = UNSET
    parent: Parent | None = None
    name: str = ""
    labels: dict[str, str] = {}
    flags: dict[str, object] = {}
    root_run_id: UUID | None = None
    depth: int = 0


class DecideStep(Command[Run], frozen=True, kw_only=True):
    """Decide a step that waits for a person; `data` answers its form."""

    node: str
    outcome: str
    data: dict[str, Any]
    data_payload: Payload
    comment: str | None
    user_id: str


class RunSources(InProject, frozen=True, kw_only=True):
    """Data of a start: the current version of the workflow, and the versions of all its dependencies."""

    workflow_version: int
    pins: Pins


async def gather_start(command: StartRun, sources: Sources) -> RunSources:
    """Load what a run depends on, and admit it. Raises TooManyRuns."""
    gathered = await gather_pinned(command, sources)
    await sources.admit_run()
    return gathered


async def gather_pinned(command: StartRun, sources: Sources) -> RunSources:
    """Load the workflow, its project and all references of its graph, to pin versions and prices."""
    workflow = await sources.load(WORKFLOW, command.workflow_id)
    if workflow.state.status is not WorkflowStatus.ACTIVE:
        raise WorkflowNotActive
    project_id = workflow.project_id or command.workflow_id
    project = await sources.load_active_project(project_id)
    await check_inputs(workflow.state.graph.input_schema, command.raw_inputs, sources)
    return RunSources(
        project_id=project_id,
        workflow_version=workflow.state.version,
        pins=await gather_pins(command.workflow_id, workflow.state, sources, project.state, command.flags),
    )


def start_run(command: StartRun, run: Run, gathered: RunSources, now: datetime) -> tuple[RunFact, ...]:
    """Decide that a run starts, with all that it depends on pinned. Raises RunAlreadyStarted."""
    if run.status is not RunStatus.ABSENT:
        raise RunAlreadyStarted
    return (
        RunStarted(
            workflow_id=command.workflow_id,
            workflow_version=gathered.workflow_version,
            inputs=command.inputs,
            pins=gathered.pins,
            parent=command.parent,
            name=command.name,
            labels=command.labels,
            root_run_id=command.root_run_id,
            depth=command.depth,
            started_at=now,
        ),
    )


async def check_inputs(schema: JsonSchema | None, inputs: object, sources: Sources) -> None:
    """Raise InputsUnacceptable with every problem of inputs that do not meet a schema, WorkStopped."""
    if schema is None or inputs is UNSET:
        return
    work = partial(find_schema_problems, schema, inputs, "/inputs")
    problems = await sources.compute(work, is_quick=is_quick(schema, inputs))
    if problems:
        raise InputsUnacceptable(problems=problems)


class DecisionSources(Struct, frozen=True, kw_only=True):
    """Data of a human decision: the team with its roles, and whether the graph has the node.

    `form_problems` are the problems of the data if it was validated already, because that takes long.
    """

    project: Project
    has_node: bool = True
    form_problems: tuple[Problem, ...] | None = None


async def gather_decision(command: DecideStep, sources: Sources) -> DecisionSources:
    """Load the project of the run; its graph is read only if the run has not reached the node."""
    run = await sources.load(RUN, command.target_id)
    project = await sources.load(PROJECT, run.project_id or command.target_id)
    step = run.state.steps.get(command.node)
    if step is not None:
        form = None if step.waiting is None or step.status is not StepStatus.WAITING else step.waiting.form
        if form is None or is_quick(form, command.data):
            return DecisionSources(project=project.state)
        found = await sources.compute(partial(find_schema_problems, form, command.data, "/data"), is_quick=False)
        return DecisionSources(project=project.state, form_problems=found)
    graph = await sources.load_graph(run.state.workflow_id, run.state.workflow_version)
    return DecisionSources(project=project.state, has_node=any(node.id == command.node for node in graph.nodes))


def decide_step(command: DecideStep, run: Run, gathered: DecisionSources, now: datetime) -> tuple[RunFact, ...]:
    """Decide a person's decision. Only the first counts: raises StepAlreadyDecided for every other.

    Raises StepNotFound, RunNotRunning, StepNotWaiting, NotAnAssignee, DeadlinePassed, and DecisionUnacceptable with
    every problem.
    """
    if not gathered.has_node:
        raise StepNotFound(f"The run's graph has no step '{command.node[:63]}'.")
    if run.has_ended:
        raise RunNotRunning
    step = run.steps.get(command.node)
    if step is None or step.waiting is None or step.waiting.waiting_for is not WaitFor.HUMAN:
        raise StepNotWaiting
    if step.status is not StepStatus.WAITING:
        raise StepAlreadyDecided
    _check_assignee(command, step.waiting, gathered.project)
    if step.waiting.until is not None and now >= step.waiting.until:
        raise DeadlinePassed
    _check_answer(command, step.waiting, gathered.form_problems)
    return (
        StepDecided(
            node=command.node,
            outcome=command.outcome,
            data=command.data_payload,
            comment=command.comment,
            decided_by=command.user_id,
            shown_hash=step.waiting.shown_hash,
            decided_at=now,
        ),
    )


def _check_assignee(command: DecideStep, waiting: StepWaiting, project: Project) -> None:
    role = project.team.get(command.user_id)
    if command.user_id not in waiting.assignees and (role is None or role.value not in waiting.roles):
        raise NotAnAssignee


def _check_answer(command: DecideStep, waiting: StepWaiting, found: tuple[Problem, ...] | None) -> None:
    if found is None and waiting.form is not None:
        found = find_schema_problems(waiting.form, command.data, "/data")
    problems = list(found or ())
    if command.outcome not in waiting.outcomes:
        problems.insert(0, Problem("/outcome", f"must be one of {', '.join(waiting.outcomes)}"))
    if problems:
        raise DecisionUnacceptable(problems=tuple(problems))


def find_schema_problems(schema: JsonSchema, value: object, pointer: str) -> tuple[Problem, ...]:
    """Return the problems of a value that a schema describes; `pointer` locates the value in the body."""
    try:
        found = find_value_problems(schema, value)
    except ExpressionFault as fault:  # the value is too large or too deep to validate
        return (Problem(pointer, fault.message),)
    return tuple(Problem(f"{pointer}{problem.pointer}", problem.message) for problem in found)
