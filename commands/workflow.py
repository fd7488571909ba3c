"""The commands of workflows and their deciders."""

from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET, Struct, UnsetType

from commands.aggregates import ASSET, WORKFLOW
from commands.command import Command, InProject
from commands.repository import Sources
from domain.asset import AssetStatus
from domain.graphs.graph import Graph
from domain.graphs.references import References, find_raw_references, find_references
from domain.graphs.stored import write_stored_graph
from domain.graphs.validation.check import check_graph, is_quick_to_check
from domain.graphs.validation.semantics import KnownReferences
from domain.workflow import (
    Workflow,
    WorkflowArchived,
    WorkflowCreated,
    WorkflowFact,
    WorkflowGraphRevised,
    WorkflowNotActive,
    WorkflowRenamed,
    WorkflowRestored,
    WorkflowStatus,
)


class CreateWorkflow(Command[Workflow], frozen=True, kw_only=True):
    """Create a workflow in a project; `graph` is the JSON as sent."""

    project_id: UUID
    name: str
    graph: dict[str, Any]


class ChangeWorkflow(Command[Workflow], frozen=True, kw_only=True):
    """Change the given fields of a workflow; given parts of the graph (`nodes`, `edges`) create a new version."""

    name: str | UnsetType = UNSET
    status: WorkflowStatus | UnsetType = UNSET
    graph: dict[str, Any] | UnsetType = UNSET


class DuplicateWorkflow(Command[Workflow], frozen=True, kw_only=True):
    """Create a workflow as a copy of another, optionally in another project and with another name."""

    source_id: UUID
    project_id: UUID | None = None
    name: str | None = None


async def load_known_references(sources: Sources, project_id: UUID, named: References) -> KnownReferences:
    """Load the references of a graph; only active assets and workflows of the same project count as known."""
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


class NewWorkflow(InProject, frozen=True, kw_only=True):
    """Data of a new workflow: the assets and workflows that its graph may refer to.

    `checked` is the graph if it was checked already, because that takes long.
    """

    known: KnownReferences
    checked: Graph | None = None


async def _check_if_slow(sources: Sources, graph: dict[str, Any], known: KnownReferences) -> Graph | None:
    """Check a graph in a worker if that takes long. Raises GraphUnacceptable, WorkStopped."""
    if is_quick_to_check(graph):
        return None
    return await sources.compute(partial(check_graph, graph, known), is_quick=False)


async def gather_new_workflow(command: CreateWorkflow, sources: Sources) -> NewWorkflow:
    """Load the project, which must be active, and the references of the graph."""
    await sources.load_active_project(command.project_id)
    known = await load_known_references(sources, command.project_id, find_raw_references(command.graph))
    checked = await _check_if_slow(sources, command.graph, known)
    return NewWorkflow(project_id=command.project_id, known=known, checked=checked)


def create_workflow(
    command: CreateWorkflow, workflow: Workflow, gathered: NewWorkflow, _now: datetime
) -> tuple[WorkflowFact, ...]:
    """Decide the creation of a workflow. Raises GraphUnacceptable with all problems of the graph."""
    if workflow.status is not WorkflowStatus.ABSENT:
        return ()
    graph = gathered.checked or check_graph(command.graph, gathered.known)
    return (WorkflowCreated(name=command.name, graph=write_stored_graph(graph)),)


class ChangeSources(Struct, frozen=True, kw_only=True):
    """Data of a change: the references of the graph, and the whole new graph if it was checked already."""

    known: KnownReferences = KnownReferences(assets={}, workflows=frozenset())
    checked: Graph | None = None


async def gather_workflow_change(command: ChangeWorkflow, sources: Sources) -> ChangeSources:
    """Load the project, which must be active, and what the new graph refers to."""
    workflow = await sources.load(WORKFLOW, command.target_id)
    project_id = workflow.project_id or command.target_id
    await sources.load_active_project(project_id)
    if isinstance(command.graph, UnsetType):
        return ChangeSources()
    graph = to_json_graph(workflow.state.graph) | command.graph
    known = await load_known_references(sources, project_id, find_raw_references(graph))
    return ChangeSources(known=known, checked=await _check_if_slow(sources, graph, known))


def change_workflow(
    command: ChangeWorkflow, workflow: Workflow, gathered: ChangeSources, _now: datetime
) -> tuple[WorkflowFact, ...]:
    """Decide the facts of a change; unchanged values add none.

    A graph given in part keeps the rest of the old one (RFC 7396). Raises GraphUnacceptable, WorkflowNotActive.
    """
    restores = command.status is WorkflowStatus.ACTIVE is not workflow.status
    facts: list[WorkflowFact] = [WorkflowRestored()] if restores else []
    if not isinstance(command.name, UnsetType) and command.name != workflow.name:
        facts.append(WorkflowRenamed(name=command.name))
    if not isinstance(command.graph, UnsetType):
        graph = gathered.checked or check_graph(to_json_graph(workflow.graph) | command.graph, gathered.known)
        if graph != workflow.graph:
            facts.append(WorkflowGraphRevised(version=workflow.version + 1, graph=write_stored_graph(graph)))
    if command.status is WorkflowStatus.ARCHIVED is not workflow.status:
        facts.append(WorkflowArchived())
    if workflow.status is WorkflowStatus.ARCHIVED and facts and not restores:
        raise WorkflowNotActive
    return tuple(facts)


class DuplicationSources(NewWorkflow, frozen=True, kw_only=True):
    """Data of a copy: the source workflow and its graph."""

    name: str
    version: int
    graph: Graph


async def gather_duplication(command: DuplicateWorkflow, sources: Sources) -> DuplicationSources:
    """Load the source, the target project, and the references of the graph as seen from there."""
    source = await sources.load(WORKFLOW, command.source_id)
    project_id = command.project_id or source.project_id or command.source_id
    await sources.load_active_project(project_id)
    known = await load_known_references(sources, project_id, find_references(source.state.graph))
    checked = await _check_if_slow(sources, to_json_graph(source.state.graph), known)
    return DuplicationSources(
        project_id=project_id,
        known=known,
        checked=checked,
        name=source.state.name,
        version=source.state.version,
        graph=source.state.graph,
    )


def to_json_graph(graph: Graph) -> dict[str, Any]:
    """Return a graph as a caller would send it (lists, not tuples), so that a copy is checked as a new one is.

    Every field is there, also where it is null: a default of today is not put into a graph of yesterday.
    """
    return msgspec.json.decode(msgspec.json.encode(graph), type=dict[str, Any])


def duplicate_workflow(
    command: DuplicateWorkflow, workflow: Workflow, copied: DuplicationSources, _now: datetime
) -> tuple[WorkflowFact, ...]:
    """Decide the creation of a copy. Raises GraphUnacceptable if the target project lacks a reference of the graph."""
    if workflow.status is not WorkflowStatus.ABSENT:
        return ()
    graph = copied.checked or check_graph(to_json_graph(copied.graph), copied.known)
    return (
        WorkflowCreated(
            name=command.name or f"{copied.name} (copy)",
            graph=write_stored_graph(graph),
            duplicated_from=command.source_id,
            duplicated_version=copied.version,
        ),
    )
