"""Workflows as they are sent, in both directions."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType

from domain.folded import Folded
from domain.graphs.graph import Edge, Node
from domain.ids import from_uuid
from domain.workflow import Workflow, WorkflowStatus
from gateway.http.bodies import PATCH_TYPES, Shape
from gateway.http.ids import shown_id
from gateway.http.statuses import Status
from gateway.projects import Name


class NewWorkflow(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A workflow to begin. The graph is judged as a whole by `domain.graphs.validation.check`."""

    name: Name
    nodes: Any
    edges: Any = []


class WorkflowPatch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to change of a workflow, as a JSON Merge Patch: lists are replaced whole."""

    name: Name | UnsetType = UNSET
    status: Status | UnsetType = UNSET
    nodes: Any = UNSET
    edges: Any = UNSET


class GraphToJudge(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A graph to be judged and not kept; without one the workflow's own is judged again."""

    nodes: Any = UNSET
    edges: Any = UNSET


class Duplication(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a copy goes and what it is called; by default into the same project, as a copy of its name."""

    project_id: str | None = None
    name: Name | None = None


class WorkflowBody(Struct, frozen=True, kw_only=True):
    """A workflow as it is sent. `version` counts its graphs from 1."""

    id: str
    project_id: str
    name: str
    status: WorkflowStatus
    version: int
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    duplicated_from: str | None
    last_run_id: str | None
    created_at: datetime | None
    updated_at: datetime | None


NEW: Final = Shape(NewWorkflow)
PATCH: Final = Shape(WorkflowPatch, allowed=PATCH_TYPES)
JUDGE: Final = Shape(GraphToJudge, optional=True)
DUPLICATION: Final = Shape(Duplication, optional=True)


def workflow_body(folded: Folded[Workflow], last_run_id: UUID | None) -> WorkflowBody:
    """Return a workflow as JSON shows it."""
    workflow, workflow_id = folded.state, folded.stream_id
    origin = workflow.duplicated_from
    return WorkflowBody(
        id=shown_id("wf", workflow_id),
        project_id=shown_id("prj", folded.project_id or workflow_id),
        name=workflow.name,
        status=workflow.status,
        version=workflow.version,
        nodes=workflow.graph.nodes,
        edges=workflow.graph.edges,
        duplicated_from=from_uuid("wf", origin) if origin is not None else None,
        last_run_id=from_uuid("run", last_run_id) if last_run_id is not None else None,
        created_at=folded.created_at,
        updated_at=folded.updated_at,
    )


def graph_given(nodes: Any, edges: Any) -> dict[str, Any]:  # noqa: ANN401  # JSON as sent
    """Give what was sent of a graph, as it was sent."""
    return {name: value for name, value in (("nodes", nodes), ("edges", edges)) if value is not UNSET}
