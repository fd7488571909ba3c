"""Versions of a workflow's graph: `GET /v1/workflows/{workflowId}/versions` and `…/versions/{version}`."""

from datetime import datetime
from typing import Any, Final

from msgspec import Struct

from domain.graphs.graph import Edge, Node
from domain.refusal import Refusal, RefusalKind
from gateway.access.permissions import Permission
from gateway.deps import Deps
from gateway.http.ids import format_id
from gateway.identity.scopes import Scope
from gateway.operations.context import RequestContext
from gateway.operations.operation import DeclaredResponse, Method, Operation, ResponseHeader, respond_page
from gateway.operations.results import Page, Result
from gateway.operations.versions import VERSION, VersionQuery, parse_version
from gateway.workflows.operations import WORKFLOW_ID


class WorkflowVersionNotFound(Refusal):
    """The workflow has no such version."""

    code = "workflow_version_not_found"
    kind = RefusalKind.MISSING


class WorkflowVersionItem(Struct, frozen=True, kw_only=True):
    """A version of a workflow, without its graph."""

    workflow_id: str
    version: int
    created_at: datetime


class WorkflowVersionBody(Struct, frozen=True, kw_only=True):
    """A version of a workflow. It never changes."""

    workflow_id: str
    version: int
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    input_schema: dict[str, Any] | None
    created_at: datetime


async def list_workflow_versions(request: RequestContext[VersionQuery, None], deps: Deps) -> Page:
    """List the versions of a workflow, newest first."""
    limit = request.query.limit or deps.settings.page_items
    page = await deps.workflows.list_versions(
        request.workspace_id, request.target_id, limit=limit, before=request.query.cursor
    )
    workflow_id = format_id("wf", request.target_id)
    items = [
        WorkflowVersionItem(workflow_id=workflow_id, version=found.number, created_at=found.created_at)
        for found in page.items
    ]
    return Page(items=items, next_cursor=None if page.next_before is None else str(page.next_before))


LIST_WORKFLOW_VERSIONS: Final = Operation(
    method=Method.GET,
    path="/v1/workflows/{workflowId}/versions",
    operation_id="listWorkflowVersions",
    tag="workflows",
    summary="List the versions of a workflow, newest first, without their graphs.",
    scope=Scope.WORKFLOWS_READ,
    permission=Permission.READ,
    path_parameters=(WORKFLOW_ID,),
    query=VersionQuery,
    responses=(respond_page(WorkflowVersionItem, "A page of versions."),),
    reads=("workflows",),
    handler=list_workflow_versions,
)


async def get_workflow_version(request: RequestContext[None, None], deps: Deps) -> Result:
    """Return a version of a workflow."""
    number = parse_version(request.texts)
    found = None
    if number is not None:
        found = await deps.workflows.version(request.workspace_id, request.target_id, number)
    if found is None:
        raise WorkflowVersionNotFound
    body = WorkflowVersionBody(
        workflow_id=format_id("wf", request.target_id),
        version=found.number,
        nodes=found.content.nodes,
        edges=found.content.edges,
        input_schema=found.content.input_schema,
        created_at=found.created_at,
    )
    return Result(body=body)


GET_WORKFLOW_VERSION: Final = Operation(
    method=Method.GET,
    path="/v1/workflows/{workflowId}/versions/{version}",
    operation_id="getWorkflowVersion",
    tag="workflows",
    summary="Get a version of a workflow with its graph.",
    scope=Scope.WORKFLOWS_READ,
    permission=Permission.READ,
    path_parameters=(WORKFLOW_ID, VERSION),
    responses=(
        DeclaredResponse(
            status=200, description="The version.", body=WorkflowVersionBody, headers=(ResponseHeader.POSITION,)
        ),
    ),
    problems=(WorkflowVersionNotFound,),
    reads=("workflows",),
    handler=get_workflow_version,
)

OPERATIONS: Final = (LIST_WORKFLOW_VERSIONS, GET_WORKFLOW_VERSION)
