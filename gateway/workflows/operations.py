"""Workflows: list, create, get, change, `:duplicate` and `:validate`."""

from functools import partial
from typing import Any, Final, cast
from uuid import UUID

from msgspec import UNSET, UnsetType

from commands.aggregates import PROJECT, WORKFLOW
from commands.command import Command
from commands.handler import Outcome
from commands.repository import Sources
from commands.workflow import ChangeWorkflow, CreateWorkflow, DuplicateWorkflow, load_known_references, to_json_graph
from domain.folded import Folded
from domain.graphs.references import find_raw_references
from domain.graphs.validation.check import GraphUnacceptable, check_graph, is_quick_to_check
from domain.ids import to_uuid
from domain.project import ProjectNotActive, ProjectNotFound
from domain.refusal import Problem
from domain.workflow import Workflow, WorkflowNotActive, WorkflowNotFound, WorkflowStatus
from gateway.access.permissions import Permission
from gateway.deps import Deps
from gateway.http.bodies import INLINE_BYTES_MAX, PATCH_TYPES, decode_any
from gateway.http.rejections import BodyUnacceptable, Problems
from gateway.http.statuses import convert_status
from gateway.identity.scopes import Scope
from gateway.operations.context import RequestContext
from gateway.operations.current import read_current
from gateway.operations.operation import (
    DeclaredResponse,
    Method,
    Operation,
    PathId,
    RequestBody,
    respond_changed,
    respond_created,
    respond_page,
    respond_read,
)
from gateway.operations.results import Page, Result
from gateway.projects import PROJECT_ID
from gateway.workflows.bodies import (
    Duplication,
    GraphToValidate,
    GraphValidation,
    NewWorkflow,
    WorkflowBody,
    WorkflowPatch,
    WorkflowQuery,
    collect_graph,
    create_workflow_body,
)
from projections.read_models.workflows_view import WorkflowFilters

WORKFLOW_ID: Final = PathId("workflowId", "wf", WorkflowNotFound)


async def list_workflows(request: RequestContext[WorkflowQuery, None], deps: Deps) -> Page:
    """List the workflows of a project."""
    query = request.query
    listing = await deps.workflows.list(
        request.workspace_id,
        filters=WorkflowFilters(project_id=request.target_id, status=query.status, name=query.name),
        limit=query.page.limit,
        cursor=query.page.cursor,
        sort=query.page.sort,
    )
    items = [create_workflow_body(view, view.last_run_id) for view in listing.items]
    return Page(items=items, next_cursor=listing.next)


LIST_WORKFLOWS: Final = Operation(
    method=Method.GET,
    path="/v1/projects/{projectId}/workflows",
    operation_id="listWorkflows",
    tag="workflows",
    summary="List the workflows of a project.",
    scope=Scope.WORKFLOWS_READ,
    permission=Permission.READ,
    path_parameters=(PROJECT_ID,),
    query=WorkflowQuery,
    responses=(respond_page(WorkflowBody, "A page of workflows."),),
    reads=("projects", "workflows"),
    handler=list_workflows,
)


async def create_workflow(request: RequestContext[None, NewWorkflow], deps: Deps) -> Result:
    """Create a workflow in a project."""
    new = request.body
    command = CreateWorkflow(
        target_id=deps.make_id(),
        project_id=request.target_id,
        name=new.name,
        graph=collect_graph(new),
    )
    return _respond_created(await request.execute(command))


async def _find_graph_problems(request: RequestContext[None, None], deps: Deps) -> Problems:
    """Return the problems of the graph in a body whose other fields are wrong. Raises ProjectNotFound."""
    work = partial(decode_any, request.raw_body, deps.settings.json_bounds)
    sources = Sources(deps.streams, request.workspace_id, fresh=False)
    sent = await sources.compute(work, is_quick=len(request.raw_body) <= INLINE_BYTES_MAX)
    if not isinstance(sent, dict):
        return ()
    fields = cast("dict[str, Any]", sent)
    graph = {name: fields[name] for name in ("nodes", "edges", "input_schema") if name in fields}
    return await _validate(deps, request.workspace_id, request.target_id, graph)


CREATE_WORKFLOW: Final = Operation(
    method=Method.POST,
    path="/v1/projects/{projectId}/workflows",
    operation_id="createWorkflow",
    tag="workflows",
    summary="Create a workflow in a project. Reports all problems of the body and of its graph at once.",
    scope=Scope.WORKFLOWS_WRITE,
    permission=Permission.EDIT,
    path_parameters=(PROJECT_ID,),
    body=RequestBody(type=NewWorkflow, find_more_problems=_find_graph_problems),
    responses=(respond_created(WorkflowBody, "The new workflow."),),
    problems=(ProjectNotActive, GraphUnacceptable),
    idempotent_by_key=True,
    handler=create_workflow,
)


async def get_workflow(request: RequestContext[None, None], deps: Deps) -> Result:
    """Return a workflow with its newest graph."""
    row = await deps.workflows.get(request.workspace_id, request.target_id)

    async def find_row(_workspace_id: UUID, _workflow_id: UUID) -> Folded[Workflow] | None:
        return row

    workflow = await read_current(deps, WORKFLOW, request.workspace_id, request.target_id, find_row)
    return Result.of_read(workflow, create_workflow_body(workflow, None if row is None else row.last_run_id))


GET_WORKFLOW: Final = Operation(
    method=Method.GET,
    path="/v1/workflows/{workflowId}",
    operation_id="getWorkflow",
    tag="workflows",
    summary="Get a workflow with its newest graph.",
    scope=Scope.WORKFLOWS_READ,
    permission=Permission.READ,
    path_parameters=(WORKFLOW_ID,),
    responses=(respond_read(WorkflowBody, "The workflow."),),
    reads=("workflows",),
    handler=get_workflow,
)


async def change_workflow(request: RequestContext[None, WorkflowPatch], deps: Deps) -> Result:
    """Change a workflow; other nodes or edges create a new version of its graph."""
    patch = request.body
    sent = collect_graph(patch)

    async def create_command(loaded: Folded[Workflow], version: int) -> Command[Workflow]:
        graph: dict[str, Any] | UnsetType = {**to_json_graph(loaded.state.graph), **sent} if sent else UNSET
        return ChangeWorkflow(
            target_id=request.target_id,
            if_version=version,
            name=patch.name,
            status=convert_status(patch.status, WorkflowStatus),
            graph=graph,
        )

    outcome = await request.change(WORKFLOW, create_command)
    view = await deps.workflows.get(request.workspace_id, request.target_id)
    last_run_id = view.last_run_id if view is not None else None
    body = create_workflow_body(outcome.loaded, last_run_id)
    return Result.of_change(outcome, body)


CHANGE_WORKFLOW: Final = Operation(
    method=Method.PATCH,
    path="/v1/workflows/{workflowId}",
    operation_id="changeWorkflow",
    tag="workflows",
    summary="Change `name`, `nodes`, `edges`, `input_schema` or `status` of a workflow.",
    scope=Scope.WORKFLOWS_WRITE,
    permission=Permission.EDIT,
    path_parameters=(WORKFLOW_ID,),
    body=RequestBody(type=WorkflowPatch, media_types=PATCH_TYPES),
    responses=(respond_changed(WorkflowBody, "The changed workflow."),),
    problems=(WorkflowNotActive, ProjectNotActive, GraphUnacceptable),
    idempotent_by_key=True,
    if_match=True,
    handler=change_workflow,
)


async def duplicate_workflow(request: RequestContext[None, Duplication], deps: Deps) -> Result:
    """Create a workflow as a copy of another."""
    project_id = _parse_project_id(request.body.project_id)
    await deps.access.check_project(
        request.caller, project_id or request.project_id or request.target_id, (Permission.EDIT,)
    )
    command = DuplicateWorkflow(
        target_id=deps.make_id(),
        source_id=request.target_id,
        project_id=project_id,
        name=request.body.name,
    )
    return _respond_created(await request.execute(command))


def _parse_project_id(text: str | None) -> UUID | None:
    try:
        return to_uuid("prj", text) if text is not None else None
    except ValueError as fault:
        raise BodyUnacceptable(problems=(Problem("/project_id", str(fault)),)) from fault


def _respond_created(outcome: Outcome[Workflow]) -> Result:
    body = create_workflow_body(outcome.loaded, None)
    return Result.of_change(outcome, body, location=f"/v1/workflows/{body.id}")


DUPLICATE_WORKFLOW: Final = Operation(
    method=Method.POST,
    path="/v1/workflows/{workflowId}:duplicate",
    operation_id="duplicateWorkflow",
    tag="workflows",
    summary="Create a copy of a workflow, optionally with another `name` or in another project (`project_id`).",
    scope=Scope.WORKFLOWS_WRITE,
    permission=Permission.READ,
    path_parameters=(WORKFLOW_ID,),
    body=RequestBody(type=Duplication, optional=True),
    responses=(respond_created(WorkflowBody, "The copy."),),
    problems=(ProjectNotFound, ProjectNotActive, GraphUnacceptable),
    idempotent_by_key=True,
    handler=duplicate_workflow,
)


async def validate_workflow(request: RequestContext[None, GraphToValidate], deps: Deps) -> Result:
    """Validate a graph in place of the workflow's own, and store nothing."""
    sources = Sources(deps.streams, request.workspace_id, fresh=False)
    loaded = await sources.load(WORKFLOW, request.target_id)
    graph = collect_graph(request.body) or to_json_graph(loaded.state.graph)
    problems = await _validate(deps, request.workspace_id, loaded.project_id or request.target_id, graph)
    return Result(body=GraphValidation(valid=not problems, problems=problems))


async def _validate(deps: Deps, workspace_id: UUID, project_id: UUID, graph: dict[str, Any]) -> tuple[Problem, ...]:
    """Return every problem of a graph in a project. Raises ProjectNotFound."""
    sources = Sources(deps.streams, workspace_id, fresh=False)
    await sources.load(PROJECT, project_id)
    try:
        known = await load_known_references(sources, project_id, find_raw_references(graph))
        await sources.compute(partial(check_graph, graph, known), is_quick=is_quick_to_check(graph))
    except GraphUnacceptable as fault:
        return fault.problems
    return ()


VALIDATE_WORKFLOW: Final = Operation(
    method=Method.POST,
    path="/v1/workflows/{workflowId}:validate",
    operation_id="validateWorkflow",
    tag="workflows",
    summary="Validate `nodes` and `edges` (send both; without either the stored graph), and store nothing.",
    scope=Scope.WORKFLOWS_READ,
    permission=Permission.READ,
    path_parameters=(WORKFLOW_ID,),
    body=RequestBody(type=GraphToValidate, optional=True),
    responses=(DeclaredResponse(status=200, description="Every problem of the graph.", body=GraphValidation),),
    problems=(ProjectNotFound,),
    handler=validate_workflow,
)

OPERATIONS: Final = (
    LIST_WORKFLOWS,
    CREATE_WORKFLOW,
    GET_WORKFLOW,
    CHANGE_WORKFLOW,
    DUPLICATE_WORKFLOW,
    VALIDATE_WORKFLOW,
)
