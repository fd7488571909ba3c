"""Request and response bodies of workflows."""

from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType

from domain.folded import Folded
from domain.graphs.graph import Edge, Node
from domain.ids import from_uuid
from domain.refusal import Problem
from domain.workflow import Workflow, WorkflowStatus
from gateway.http.ids import format_id
from gateway.http.statuses import Status
from gateway.operations.paging import PageRequest
from gateway.projects import Name


class NewWorkflow(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A workflow to create. `domain.graphs.validation.check` validates the graph as a whole."""

    name: Name
    nodes: Any
    edges: Any = []
    input_schema: Any = None


class WorkflowPatch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A change of a workflow, as a JSON Merge Patch: lists are replaced as a whole."""

    name: Name | UnsetType = UNSET
    status: Status | UnsetType = UNSET
    nodes: Any = UNSET
    edges: Any = UNSET
    input_schema: Any = UNSET


class GraphToValidate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A graph to validate without storing it. If both fields are absent, the stored graph is validated."""

    nodes: Any = UNSET
    edges: Any = UNSET
    input_schema: Any = UNSET


class Duplication(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The project and the name of a copy; by default the same project, and a name derived from the original's."""

    project_id: str | None = None
    name: Name | None = None


class WorkflowBody(Struct, frozen=True, kw_only=True):
    """A workflow. `version` counts its graphs from 1."""

    id: str
    project_id: str
    name: str
    status: WorkflowStatus
    version: int
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    input_schema: dict[str, Any] | None
    duplicated_from: str | None
    last_run_id: str | None
    created_at: datetime | None
    updated_at: datetime | None


class GraphValidation(Struct, frozen=True, kw_only=True):
    """The result of a validation: every problem, with a JSON pointer into the body."""

    valid: bool
    problems: tuple[Problem, ...]


class WorkflowQuery(Struct, frozen=True, kw_only=True):
    """Query of a list of workflows. `name` matches exactly."""

    page: PageRequest
    status: WorkflowStatus | None = None
    name: str | None = None


def create_workflow_body(folded: Folded[Workflow], last_run_id: UUID | None) -> WorkflowBody:
    """Return a workflow as it is sent."""
    workflow, workflow_id = folded.state, folded.stream_id
    origin = workflow.duplicated_from
    return WorkflowBody(
        id=format_id("wf", workflow_id),
        project_id=format_id("prj", folded.project_id or workflow_id),
        name=workflow.name,
        status=workflow.status,
        version=workflow.version,
        nodes=workflow.graph.nodes,
        edges=workflow.graph.edges,
        input_schema=workflow.graph.input_schema,
        duplicated_from=from_uuid("wf", origin) if origin is not None else None,
        last_run_id=from_uuid("run", last_run_id) if last_run_id is not None else None,
        created_at=folded.created_at,
        updated_at=folded.updated_at,
    )


def collect_graph(sent: NewWorkflow | WorkflowPatch | GraphToValidate) -> dict[str, Any]:
    """Return the parts of a graph that were sent, unvalidated."""
    parts = (("nodes", sent.nodes), ("edges", sent.edges), ("input_schema", sent.input_schema))
    return {name: value for name, value in parts if value is not UNSET}
