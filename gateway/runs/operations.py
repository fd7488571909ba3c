"""Runs: start, get, list, and complete a human step."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Final
from uuid import UUID

from msgspec import Meta, Struct, field
from msgspec.structs import replace

from commands.aggregates import RUN
from commands.runs.start import DecideStep, StartRun
from domain.names import NAME_RULE, OPTIONAL_NAME_PATTERN
from domain.project import ProjectNotActive
from domain.runs.refusals import (
    DeadlinePassed,
    DecisionUnacceptable,
    FeatureSwitchedOff,
    InputsUnacceptable,
    NotAnAssignee,
    RunNotFound,
    RunNotRunning,
    StepAlreadyDecided,
    StepNotFound,
    StepNotWaiting,
    TooManyRuns,
    WorkflowContainsItself,
    WorkflowsTooMany,
    WorkflowTooDeep,
)
from domain.runs.run import RunStatus
from domain.workflow import WorkflowNotActive, WorkflowNotFound
from gateway.access.permissions import Permission
from gateway.deps import Deps
from gateway.identity.scopes import Scope
from gateway.operations.context import RequestContext
from gateway.operations.current import read_current
from gateway.operations.operation import (
    CHANGE_HEADERS,
    NOT_MODIFIED,
    DeclaredResponse,
    Method,
    Operation,
    PathId,
    PathText,
    RequestBody,
    ResponseHeader,
    respond_changed,
    respond_page,
    respond_read,
)
from gateway.operations.paging import PageRequest
from gateway.operations.query import RunId, WorkflowId, malformed_parameter
from gateway.operations.results import Page, Result
from gateway.projects import PROJECT_ID
from gateway.runs.bodies import RunBody, RunItem, create_run_item
from gateway.runs.responses import create_whole_run_body, execute_on_run, store_inputs
from gateway.workflows.operations import WORKFLOW_ID
from projections.read_models.runs_view import RunFilters
from projections.runtime.paging import MOST
from store.contents import keep

INSTANT: Final = timedelta(microseconds=1)
RUN_ID: Final = PathId("runId", "run", RunNotFound)
RUN_HEADERS: Final = (*CHANGE_HEADERS, ResponseHeader.LOCATION, ResponseHeader.PREFERENCE_APPLIED)
RUN_RESPONSES: Final = (
    DeclaredResponse(status=202, description="The run, which has not ended.", body=RunBody, headers=RUN_HEADERS),
    DeclaredResponse(
        status=200, description="The run, which ended within `Prefer: wait`.", body=RunBody, headers=RUN_HEADERS
    ),
)
PIN_PROBLEMS: Final = (
    ProjectNotActive,
    WorkflowNotFound,
    WorkflowNotActive,
    WorkflowContainsItself,
    WorkflowTooDeep,
    WorkflowsTooMany,
    FeatureSwitchedOff,
    TooManyRuns,
)
"""The refusals of pinning a run to graphs and assets."""


RunName = Annotated[str, Meta(max_length=200, pattern=OPTIONAL_NAME_PATTERN, extra={"rule": NAME_RULE})]
LabelKey = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$(?!\n)")]
Labels = Annotated[dict[LabelKey, Annotated[str, Meta(max_length=200)]], Meta(max_length=20)]


class NewRun(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A run to start: its inputs, a name for people, and labels to find it by."""

    inputs: dict[str, Any] = {}
    name: RunName = ""
    labels: Labels = {}


class Decision(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A person's decision on a waiting step: an outcome, the data of the form, and an optional comment."""

    outcome: Annotated[str, Meta(min_length=1, max_length=200)]
    data: dict[str, Any] = {}
    comment: Annotated[str, Meta(max_length=10_000)] | None = None


class RunQuery(Struct, frozen=True, kw_only=True):
    """Query of a list of runs: those that callers started, or with `parent` the children of a run.

    `label` is `key=value`. `from` and `to` are times of the start.
    """

    page: PageRequest
    status: RunStatus | None = None
    parent: RunId | None = None
    label: str | None = None
    from_: datetime | None = field(default=None, name="from")
    to: datetime | None = None


class ProjectRunQuery(RunQuery, frozen=True, kw_only=True):
    """Query of the runs of a project, also by workflow."""

    workflow_id: WorkflowId | None = None


async def start_run(request: RequestContext[None, NewRun], deps: Deps) -> Result:
    """Start a run of a workflow."""
    command = StartRun(
        target_id=deps.make_id(),
        workflow_id=request.target_id,
        inputs=await store_inputs(deps, request.workspace_id, request.body.inputs, request.raw_body),
        raw_inputs=request.body.inputs,
        name=request.body.name,
        labels=request.body.labels,
        flags=deps.flags.list_pinned(request.caller),
    )
    return await execute_on_run(request, deps, command)


START_RUN: Final = Operation(
    method=Method.POST,
    path="/v1/workflows/{workflowId}:run",
    operation_id="startRun",
    tag="runs",
    summary="Start a run; with `Prefer: wait=N` respond when it has ended, after N seconds at most.",
    scope=Scope.RUNS_WRITE,
    permission=Permission.EDIT,
    path_parameters=(WORKFLOW_ID,),
    body=RequestBody(type=NewRun, optional=True),
    responses=RUN_RESPONSES,
    problems=(*PIN_PROBLEMS, InputsUnacceptable),
    idempotent_by_key=True,
    prefer_wait=True,
    handler=start_run,
)


async def get_run(request: RequestContext[None, None], deps: Deps) -> Result:
    """Return a run."""
    run = await read_current(deps, RUN, request.workspace_id, request.target_id, deps.runs.get)
    return Result.of_read(run, await create_whole_run_body(deps, run))


GET_RUN: Final = Operation(
    method=Method.GET,
    path="/v1/runs/{runId}",
    operation_id="getRun",
    tag="runs",
    summary="Get a run: its status, steps, outputs, error and costs.",
    scope=Scope.RUNS_READ,
    permission=Permission.READ,
    path_parameters=(RUN_ID,),
    responses=(respond_read(RunBody, "The run."), NOT_MODIFIED),
    reads=("runs",),
    handler=get_run,
)


async def list_runs_of_project(request: RequestContext[ProjectRunQuery, None], deps: Deps) -> Page:
    """List the runs of a project."""
    filters = RunFilters(project_id=request.target_id, of_workflow_id=request.query.workflow_id)
    return await _list_runs(request.query, request.workspace_id, deps, filters)


LIST_RUNS_OF_PROJECT: Final = Operation(
    method=Method.GET,
    path="/v1/projects/{projectId}/runs",
    operation_id="listRunsOfProject",
    tag="runs",
    summary="List the runs of a project.",
    scope=Scope.RUNS_READ,
    permission=Permission.READ,
    path_parameters=(PROJECT_ID,),
    query=ProjectRunQuery,
    responses=(respond_page(RunItem, "A page of runs, without their steps. Large values are references."),),
    reads=("projects", "runs"),
    handler=list_runs_of_project,
)


async def list_runs_of_workflow(request: RequestContext[RunQuery, None], deps: Deps) -> Page:
    """List the runs of a workflow."""
    return await _list_runs(request.query, request.workspace_id, deps, RunFilters(workflow_id=request.target_id))


LIST_RUNS_OF_WORKFLOW: Final = Operation(
    method=Method.GET,
    path="/v1/workflows/{workflowId}/runs",
    operation_id="listRunsOfWorkflow",
    tag="runs",
    summary="List the runs of a workflow.",
    scope=Scope.RUNS_READ,
    permission=Permission.READ,
    path_parameters=(WORKFLOW_ID,),
    query=RunQuery,
    responses=(respond_page(RunItem, "A page of runs, without their steps. Large values are references."),),
    reads=("workflows", "runs"),
    handler=list_runs_of_workflow,
)


async def _list_runs(query: RunQuery, workspace_id: UUID, deps: Deps, filters: RunFilters) -> Page:
    listing = await deps.runs.list(
        workspace_id,
        filters=replace(
            filters,
            status=query.status,
            parent_id=query.parent,
            labels=_parse_label(query.label),
            created_after=0 if query.from_ is None else await deps.log.find_position(query.from_ - INSTANT),
            created_through=MOST if query.to is None else await deps.log.find_position(query.to - INSTANT),
        ),
        limit=query.page.limit,
        cursor=query.page.cursor,
        sort=query.page.sort,
    )
    items = [create_run_item(view) for view in listing.items]
    return Page(items=items, next_cursor=listing.next)


def _parse_label(text: str | None) -> dict[str, str]:
    if text is None:
        return {}
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise malformed_parameter("label", "must be `key=value`")
    return {key: value}


async def complete_step(request: RequestContext[None, Decision], deps: Deps) -> Result:
    """Decide a step that waits for a person."""
    decision = request.body
    command = DecideStep(
        target_id=request.target_id,
        node=request.texts["nodeId"],
        outcome=decision.outcome,
        data=decision.data,
        data_payload=await keep(deps.contents, request.workspace_id, decision.data),
        comment=decision.comment,
        user_id=request.caller.user_id,
    )
    outcome = await request.execute(command)
    return Result.of_change(outcome, await create_whole_run_body(deps, outcome.loaded))


COMPLETE_STEP: Final = Operation(
    method=Method.POST,
    path="/v1/runs/{runId}/steps/{nodeId}:complete",
    operation_id="completeStep",
    tag="runs",
    summary="Decide a step that waits for a person.",
    scope=Scope.RUNS_APPROVE,
    permission=Permission.DECIDE,
    path_parameters=(RUN_ID, PathText("nodeId", "The `id` of the node in the graph of the run.")),
    body=RequestBody(type=Decision),
    responses=(respond_changed(RunBody, "The run after the decision."),),
    problems=(
        StepNotFound,
        RunNotRunning,
        StepNotWaiting,
        StepAlreadyDecided,
        DeadlinePassed,
        NotAnAssignee,
        DecisionUnacceptable,
    ),
    idempotent_by_key=True,
    handler=complete_step,
)

OPERATIONS: Final = (START_RUN, GET_RUN, LIST_RUNS_OF_PROJECT, LIST_RUNS_OF_WORKFLOW, COMPLETE_STEP)
