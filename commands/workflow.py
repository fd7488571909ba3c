"""The commands of workflows and how each is decided."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET, Struct, UnsetType

from commands.aggregates import ASSET, PROJECT, WORKFLOW
from commands.command import Command
from commands.repository import Sources
from domain.asset import AssetStatus
from domain.folded import Folded
from domain.graphs.graph import Graph
from domain.graphs.references import References, find_raw_references, find_references
from domain.graphs.validation.check import check_graph
from domain.graphs.validation.semantics import KnownReferences
from domain.project import Project, ProjectNotActive, ProjectStatus
from domain.workflow import (
    Workflow,
    WorkflowArchived,
    WorkflowCreated,
    WorkflowFact,
    WorkflowGraphRevised,
    WorkflowNotActive,
    WorkflowRenamed,
    WorkflowStatus,
)


class CreateWorkflow(Command, frozen=True, kw_only=True):
    """Begin a workflow in a project; `graph` is the JSON as sent."""

    project_id: UUID
    name: str
    graph: dict[str, Any]


class ChangeWorkflow(Command, frozen=True, kw_only=True):
    """Change what is given of a workflow; what is given of the graph (`nodes`, `edges`) makes a new version."""

    name: str | UnsetType = UNSET
    status: WorkflowStatus | UnsetType = UNSET
    graph: dict[str, Any] | UnsetType = UNSET


class DuplicateWorkflow(Command, frozen=True, kw_only=True):
    """Begin a workflow as a copy of another, perhaps in another project and under another name."""

    source_id: UUID
    project_id: UUID | None = None
    name: str | None = None


async def _active_project(sources: Sources, project_id: UUID) -> Folded[Project]:
    project = await sources.load(PROJECT, project_id)
    if project.state.status is not ProjectStatus.ACTIVE:
        raise ProjectNotActive
    return project


async def known_to(sources: Sources, project_id: UUID, named: References) -> KnownReferences:
    """Load what a graph refers to; only active assets and workflows of the same project count as known."""
    assets: dict[UUID, str] = {}
    for asset_id in named.assets:
        asset = await sources.find(ASSET, asset_id)
        if asset is not None and asset.project_id == project_id and asset.state.status is AssetStatus.ACTIVE:
            assets[asset_id] = asset.state.type.value
    workflows: set[UUID] = set()
    for workflow_id in named.workflows:
        found = await sources.find(WORKFLOW, workflow_id)
        if found is not None and found.project_id == project_id and found.state.status is WorkflowStatus.ACTIVE:
            workflows.add(workflow_id)
    return KnownReferences(assets=assets, workflows=frozenset(workflows))


async def gather_creation(command: CreateWorkflow, sources: Sources) -> tuple[UUID, KnownReferences]:
    """Load the project, which must be active, and what the graph refers to."""
    await _active_project(sources, command.project_id)
    return command.project_id, await known_to(sources, command.project_id, find_raw_references(command.graph))


def create_workflow(
    command: CreateWorkflow, workflow: Workflow, gathered: tuple[UUID, KnownReferences], _now: datetime
) -> tuple[WorkflowFact, ...]:
    """Decide that a workflow begins. Raises GraphUnacceptable with every problem of the graph at once."""
    if workflow.status is not WorkflowStatus.ABSENT:
        return ()
    return (WorkflowCreated(name=command.name, graph=check_graph(command.graph, gathered[1])),)


async def gather_change(command: ChangeWorkflow, sources: Sources) -> KnownReferences:
    """Load the project, which must be active, and what the new graph refers to."""
    workflow = await sources.load(WORKFLOW, command.target_id)
    project_id = workflow.project_id or command.target_id
    await _active_project(sources, project_id)
    if isinstance(command.graph, UnsetType):
        return KnownReferences(assets={}, workflows=frozenset())
    return await known_to(sources, project_id, find_raw_references(as_sent(workflow.state.graph) | command.graph))


def change_workflow(
    command: ChangeWorkflow, workflow: Workflow, known: KnownReferences, _now: datetime
) -> tuple[WorkflowFact, ...]:
    """Decide the facts of a change; what is the same already gives none.

    A graph given in part keeps the rest of the old one (RFC 7396). Raises GraphUnacceptable, WorkflowNotActive.
    """
    facts: list[WorkflowFact] = []
    if not isinstance(command.name, UnsetType) and command.name != workflow.name:
        facts.append(WorkflowRenamed(name=command.name))
    if not isinstance(command.graph, UnsetType):
        graph = check_graph(as_sent(workflow.graph) | command.graph, known)
        if graph != workflow.graph:
            facts.append(WorkflowGraphRevised(version=workflow.version + 1, graph=graph))
    if command.status is WorkflowStatus.ARCHIVED is not workflow.status:
        facts.append(WorkflowArchived())
    if workflow.status is WorkflowStatus.ARCHIVED and (facts or command.status is WorkflowStatus.ACTIVE):
        raise WorkflowNotActive
    return tuple(facts)


class Copied(Struct, frozen=True, kw_only=True):
    """What a copy is made from, as loaded."""

    name: str
    version: int
    graph: Graph


async def gather_duplication(command: DuplicateWorkflow, sources: Sources) -> tuple[UUID, Copied, KnownReferences]:
    """Load the source, the project that the copy goes to, and what the graph refers to as seen from there."""
    source = await sources.load(WORKFLOW, command.source_id)
    project_id = command.project_id or source.project_id or command.source_id
    await _active_project(sources, project_id)
    copied = Copied(
        name=source.state.name,
        version=source.state.version,
        graph=source.state.graph,
    )
    return project_id, copied, await known_to(sources, project_id, find_references(source.state.graph))


def as_sent(graph: Graph) -> dict[str, Any]:
    """Give a graph as a caller would send it (lists, not tuples), so that a copy is judged as a new one is."""
    return msgspec.json.decode(msgspec.json.encode(graph), type=dict[str, Any])


def duplicate_workflow(
    command: DuplicateWorkflow, workflow: Workflow, gathered: tuple[UUID, Copied, KnownReferences], _now: datetime
) -> tuple[WorkflowFact, ...]:
    """Decide that a copy begins. Raises GraphUnacceptable where the target project lacks what the graph refers to."""
    if workflow.status is not WorkflowStatus.ABSENT:
        return ()
    _, copied, known = gathered
    return (
        WorkflowCreated(
            name=command.name or f"{copied.name} (copy)",
            graph=check_graph(as_sent(copied.graph), known),
            duplicated_from=command.source_id,
            duplicated_version=copied.version,
        ),
    )
