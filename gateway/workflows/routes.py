"""Workflows over HTTP: lists, creation, reading, changes, `:duplicate` and `:validate`."""

from typing import Any, cast
from uuid import UUID

from litestar import get, patch, post
from litestar.handlers import HTTPRouteHandler
from msgspec import UNSET, Struct, UnsetType

from commands.aggregates import PROJECT, WORKFLOW
from commands.command import Command
from commands.repository import Sources
from commands.workflow import ChangeWorkflow, CreateWorkflow, DuplicateWorkflow, load_known_references, to_json_graph
from domain.folded import Folded
from domain.graphs.references import find_raw_references
from domain.graphs.validation.check import GraphUnacceptable, check_graph
from domain.ids import to_uuid
from domain.project import ProjectNotFound
from domain.refusal import Problem
from domain.workflow import Workflow, WorkflowNotFound, WorkflowStatus
from gateway.deps import Deps
from gateway.endpoint import AnyRequest, Door, Entry, location, written
from gateway.http.bodies import decode_any
from gateway.http.paging import PAGED
from gateway.http.preconditions import etag
from gateway.http.query import choice_of
from gateway.http.rejections import BodyUnacceptable, Problems
from gateway.http.replies import Reply, json_reply
from gateway.http.statuses import status_set
from gateway.workflows.bodies import DUPLICATION, JUDGE, NEW, PATCH, graph_given, workflow_body
from projections.read_models.workflows_view import WorkflowFilters


class Judgement(Struct, frozen=True, kw_only=True):
    """What `:validate` finds: every problem, with a JSON pointer into the body."""

    valid: bool
    problems: tuple[Problem, ...]


class Workflows:
    """The routes of workflows, but for those of their runs."""

    def __init__(self, deps: Deps, door: Door) -> None:
        """Make them of what the gateway is built from."""
        self._deps = deps
        self._view = deps.workflows
        self._door = door

    def routes(self) -> list[HTTPRouteHandler]:
        """Give the routes."""
        of_project = "/v1/projects/{projectId:str}/workflows"
        one = "/v1/workflows/{workflowId:str}"
        return [
            get(of_project, operation_id="listWorkflows")(self.list_workflows),
            post(of_project, operation_id="createWorkflow")(self.create),
            get(one, operation_id="getWorkflow")(self.get),
            patch(one, operation_id="changeWorkflow")(self.change),
            post(f"{one}/:duplicate", operation_id="duplicateWorkflow")(self.duplicate),
            post(f"{one}/:validate", operation_id="validateWorkflow", status_code=200)(self.validate),
        ]

    async def list_workflows(self, request: AnyRequest) -> Reply:
        """List a project's workflows."""
        entry = self._door.enter(request, "workflows:read", *PAGED, "status", "name")
        query = entry.query
        asked = self._door.paging.asked(query)
        project_id = await self._door.project(entry, "workflows")
        filters = WorkflowFilters(
            project_id=project_id, status=choice_of(query, "status", WorkflowStatus), name=query.get("name")
        )
        listing = await self._view.list(
            entry.workspace_id, filters=filters, limit=asked.limit, cursor=asked.cursor, sort=asked.sort
        )
        items = [workflow_body(item, item.last_run_id) for item in listing.items]
        return self._door.paging.reply(entry.path, query, items, listing.next)

    async def create(self, request: AnyRequest) -> Reply:
        """Begin a workflow in a project. Tells all that is wrong at once: with the body's fields and its graph."""
        entry = self._door.enter(request, "workflows:write")
        project_id = entry.id("prj", "projectId", ProjectNotFound)
        raw = await self._door.raw(entry)
        try:
            new = self._door.shaped(entry, NEW, raw)
        except BodyUnacceptable as fault:
            raise BodyUnacceptable(problems=await self._all_problems(entry, project_id, raw, fault.problems)) from fault
        command = CreateWorkflow(
            target_id=self._deps.make_id(),
            project_id=project_id,
            name=new.name,
            graph=graph_given(new.nodes, new.edges),
        )
        outcome = await self._door.execute(entry, command, raw)
        body = workflow_body(outcome.loaded, None)
        return written(201, outcome, body, location(f"/v1/workflows/{body.id}"))

    async def _all_problems(self, entry: Entry, project_id: UUID, raw: bytes, found: Problems) -> Problems:
        """Add the graph's problems to those of the other fields. Raises ProjectNotFound."""
        sent = decode_any(raw, self._deps.settings.json_depth_max)
        if not isinstance(sent, dict):
            return found
        fields = cast("dict[str, Any]", sent)
        graph = {name: fields[name] for name in ("nodes", "edges") if name in fields}
        said = {problem.pointer for problem in found if isinstance(problem, Problem)}
        judged = await self._problems(entry, project_id, graph)
        return (*found, *(problem for problem in judged if problem.pointer not in said))

    async def get(self, request: AnyRequest) -> Reply:
        """Give a workflow with its newest graph."""
        entry = self._door.enter(request, "workflows:read")
        workflow_id = entry.id("wf", "workflowId", WorkflowNotFound)
        await self._door.reach(entry, "workflows")
        item = await self._view.get(entry.workspace_id, workflow_id)
        if item is None:
            raise WorkflowNotFound
        return json_reply(200, workflow_body(item, item.last_run_id), etag(item.version))

    async def change(self, request: AnyRequest) -> Reply:
        """Change a workflow; other nodes or edges make a new version of its graph."""
        entry = self._door.enter(request, "workflows:write")
        workflow_id = entry.id("wf", "workflowId", WorkflowNotFound)
        sent, raw = await self._door.read(entry, PATCH)
        given = graph_given(sent.nodes, sent.edges)

        async def make(loaded: Folded[Workflow], version: int) -> Command[Workflow]:
            graph: dict[str, Any] | UnsetType = {**to_json_graph(loaded.state.graph), **given} if given else UNSET
            return ChangeWorkflow(
                target_id=workflow_id,
                if_version=version,
                name=sent.name,
                status=status_set(sent.status, WorkflowStatus),
                graph=graph,
            )

        outcome = await self._door.change(entry, WORKFLOW, workflow_id, raw, make)
        item = await self._view.get(entry.workspace_id, workflow_id)
        last_run_id = item.last_run_id if item is not None else None
        return written(200, outcome, workflow_body(outcome.loaded, last_run_id))

    async def duplicate(self, request: AnyRequest) -> Reply:
        """Begin a workflow as a copy of another."""
        entry = self._door.enter(request, "workflows:write")
        source_id = entry.id("wf", "workflowId", WorkflowNotFound)
        sent, raw = await self._door.read(entry, DUPLICATION)
        command = DuplicateWorkflow(
            target_id=self._deps.make_id(),
            source_id=source_id,
            project_id=_project_named(sent.project_id),
            name=sent.name,
        )
        outcome = await self._door.execute(entry, command, raw)
        body = workflow_body(outcome.loaded, None)
        return written(201, outcome, body, location(f"/v1/workflows/{body.id}"))

    async def validate(self, request: AnyRequest) -> Reply:
        """Judge a graph in the place of a workflow's own, and keep nothing."""
        entry = self._door.enter(request, "workflows:read")
        workflow_id = entry.id("wf", "workflowId", WorkflowNotFound)
        sent, _ = await self._door.read(entry, JUDGE)
        loaded = await Sources(self._deps.streams, entry.workspace_id, fresh=False).load(WORKFLOW, workflow_id)
        graph = graph_given(sent.nodes, sent.edges) or to_json_graph(loaded.state.graph)
        problems = await self._problems(entry, loaded.project_id or workflow_id, graph)
        return json_reply(200, Judgement(valid=not problems, problems=problems))

    async def _problems(self, entry: Entry, project_id: UUID, graph: dict[str, Any]) -> tuple[Problem, ...]:
        """Give every problem of a graph in a project. Raises ProjectNotFound."""
        sources = Sources(self._deps.streams, entry.workspace_id, fresh=False)
        await sources.load(PROJECT, project_id)
        try:
            check_graph(graph, await load_known_references(sources, project_id, find_raw_references(graph)))
        except GraphUnacceptable as fault:
            return fault.problems
        return ()


def _project_named(text: str | None) -> UUID | None:
    try:
        return to_uuid("prj", text) if text is not None else None
    except ValueError as fault:
        raise BodyUnacceptable(problems=(Problem("/project_id", str(fault)),)) from fault
