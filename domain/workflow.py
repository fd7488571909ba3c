"""Workflows: named graphs in immutable numbered versions; their facts and state."""

from enum import StrEnum
from typing import assert_never
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from domain.fact import Fact
from domain.graphs.graph import Graph
from domain.graphs.stored import StoredGraph, read_stored_graph
from domain.refusal import Refusal, RefusalKind


class WorkflowStatus(StrEnum):
    """Lifecycle of a workflow; `absent` before its first fact."""

    ABSENT = "absent"
    ACTIVE = "active"
    ARCHIVED = "archived"


class WorkflowCreated(Fact, frozen=True, kw_only=True, tag="workflow.created"):
    """A workflow was created with version 1 of its graph, possibly as a copy of a version of another."""

    name: str
    graph: StoredGraph
    duplicated_from: UUID | None = None
    duplicated_version: int | None = None


class WorkflowRenamed(Fact, frozen=True, kw_only=True, tag="workflow.renamed"):
    """A workflow was renamed; its version is unchanged."""

    name: str


class WorkflowGraphRevised(Fact, frozen=True, kw_only=True, tag="workflow.graph-revised"):
    """A new immutable version of the whole graph was added."""

    version: int
    graph: StoredGraph


class WorkflowArchived(Fact, frozen=True, kw_only=True, tag="workflow.archived"):
    """A workflow was archived: it cannot be run."""


class WorkflowRestored(Fact, frozen=True, kw_only=True, tag="workflow.restored"):
    """An archived workflow became active again."""


WorkflowFact = WorkflowCreated | WorkflowRenamed | WorkflowGraphRevised | WorkflowArchived | WorkflowRestored


class Workflow(Struct, frozen=True, kw_only=True):
    """The state of a workflow, folded from its facts. `version` counts graphs from 1, not facts."""

    status: WorkflowStatus = WorkflowStatus.ABSENT
    name: str = ""
    version: int = 0
    graph: Graph = Graph(nodes=())
    duplicated_from: UUID | None = None


class WorkflowNotFound(Refusal):
    """The workflow does not exist, or belongs to another workspace."""

    code = "workflow_not_found"
    kind = RefusalKind.MISSING


class WorkflowNotActive(Refusal):
    """The workflow is archived. Restore it first."""

    code = "workflow_not_active"


def evolve(workflow: Workflow, fact: WorkflowFact) -> Workflow:
    """Return the workflow after one more fact. Accepts any history; never refuses."""
    match fact:
        case WorkflowCreated():
            return Workflow(
                status=WorkflowStatus.ACTIVE,
                name=fact.name,
                version=1,
                graph=read_stored_graph(fact.graph),
                duplicated_from=fact.duplicated_from,
            )
        case WorkflowRenamed():
            return replace(workflow, name=fact.name)
        case WorkflowGraphRevised():
            return replace(workflow, version=fact.version, graph=read_stored_graph(fact.graph))
        case WorkflowArchived():
            return replace(workflow, status=WorkflowStatus.ARCHIVED)
        case WorkflowRestored():
            return replace(workflow, status=WorkflowStatus.ACTIVE)
        case _:
            assert_never(fact)


def get_new_graph(fact: WorkflowFact) -> tuple[int, Graph] | None:
    """Return the version and the graph that a fact adds, None if it adds none."""
    match fact:
        case WorkflowCreated():
            return 1, read_stored_graph(fact.graph)
        case WorkflowGraphRevised():
            return fact.version, read_stored_graph(fact.graph)
        case WorkflowRenamed() | WorkflowArchived() | WorkflowRestored():
            return None
        case _:
            assert_never(fact)
