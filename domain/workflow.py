"""Workflows: named graphs in immutable numbered versions; their facts and state."""

from enum import StrEnum
from typing import assert_never
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from domain.fact import Fact
from domain.graphs.graph import Graph
from domain.refusal import Refusal, RefusalKind


class WorkflowStatus(StrEnum):
    """Where a workflow is in its life; `absent` before its first fact."""

    ABSENT = "absent"
    ACTIVE = "active"
    ARCHIVED = "archived"


class WorkflowCreated(Fact, frozen=True, kw_only=True, tag="workflow.created"):
    """A workflow began with version 1 of its graph, perhaps as a copy of a version of another."""

    name: str
    graph: Graph
    duplicated_from: UUID | None = None
    duplicated_version: int | None = None


class WorkflowRenamed(Fact, frozen=True, kw_only=True, tag="workflow.renamed"):
    """A workflow got another name; its version stays."""

    name: str


class WorkflowGraphRevised(Fact, frozen=True, kw_only=True, tag="workflow.graph-revised"):
    """A new immutable version of the graph, whole."""

    version: int
    graph: Graph


class WorkflowArchived(Fact, frozen=True, kw_only=True, tag="workflow.archived"):
    """A workflow was put away: it cannot be run any more."""


WorkflowFact = WorkflowCreated | WorkflowRenamed | WorkflowGraphRevised | WorkflowArchived


class Workflow(Struct, frozen=True, kw_only=True):
    """A workflow as its facts tell it. `version` counts graphs from 1 and is not the stream's version."""

    status: WorkflowStatus = WorkflowStatus.ABSENT
    name: str = ""
    version: int = 0
    graph: Graph = Graph(nodes=())
    duplicated_from: UUID | None = None


class WorkflowNotFound(Refusal):
    """There is no such workflow."""

    code = "workflow_not_found"
    kind = RefusalKind.MISSING


class WorkflowNotActive(Refusal):
    """The workflow is archived."""

    code = "workflow_not_active"


def evolve(workflow: Workflow, fact: WorkflowFact) -> Workflow:
    """Return the workflow after one more fact. Accepts any history; never refuses."""
    match fact:
        case WorkflowCreated():
            return Workflow(
                status=WorkflowStatus.ACTIVE,
                name=fact.name,
                version=1,
                graph=fact.graph,
                duplicated_from=fact.duplicated_from,
            )
        case WorkflowRenamed():
            return replace(workflow, name=fact.name)
        case WorkflowGraphRevised():
            return replace(workflow, version=fact.version, graph=fact.graph)
        case WorkflowArchived():
            return replace(workflow, status=WorkflowStatus.ARCHIVED)
        case _:
            assert_never(fact)


def get_new_graph(fact: WorkflowFact) -> tuple[int, Graph] | None:
    """Return the version and the graph that a fact brought, if it brought one."""
    match fact:
        case WorkflowCreated():
            return 1, fact.graph
        case WorkflowGraphRevised():
            return fact.version, fact.graph
        case WorkflowRenamed() | WorkflowArchived():
            return None
        case _:
            assert_never(fact)
