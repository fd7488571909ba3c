"""Runs over HTTP: starting them, perhaps waiting for their end; reading them; and people's decisions."""

from typing import Annotated, Any, Final
from uuid import UUID

from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from msgspec import Meta, Struct

from commands.runs.start import DecideStep, StartRun
from domain.folded import Folded
from domain.runs.refusals import RunNotFound
from domain.runs.run import Run, RunStatus
from domain.workflow import WorkflowNotFound
from gateway.deps import Deps
from gateway.endpoint import AnyRequest, Door, Entry, written
from gateway.http.bodies import Shape
from gateway.http.fast_path import direct
from gateway.http.paging import PAGED
from gateway.http.preconditions import etag
from gateway.http.query import choice_of
from gateway.http.replies import Reply, json_reply
from gateway.runs.answers import RunAnswers
from gateway.runs.bodies import run_body
from projections.read_models.runs_view import RunFilters
from store.contents import keep


class NewRun(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a run starts with."""

    inputs: dict[str, Any] = {}


class Decision(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person decides of a step that waits: an outcome, answers to the form, perhaps a comment."""

    outcome: Annotated[str, Meta(min_length=1, max_length=200)]
    data: dict[str, Any] = {}
    comment: Annotated[str, Meta(max_length=10_000)] | None = None


NEW: Final = Shape(NewRun, optional=True)
DECISION: Final = Shape(Decision)


class Runs:
    """The routes of runs, but for their events."""

    def __init__(self, deps: Deps, door: Door) -> None:
        """Make them of what the gateway is built from."""
        self._deps = deps
        self._view = deps.runs
        self._door = door
        self._answers = RunAnswers(deps, door)

    def routes(self) -> list[HTTPRouteHandler]:
        """Give the routes."""
        return [
            post(
                "/v1/workflows/{workflowId:str}/:run",
                operation_id="startRun",
                status_code=202,
                middleware=[direct(self.start)],
            )(self.start),
            get("/v1/runs/{runId:str}", operation_id="getRun")(self.get),
            get("/v1/projects/{projectId:str}/runs", operation_id="listRunsOfProject")(self.list_of_project),
            get("/v1/workflows/{workflowId:str}/runs", operation_id="listRunsOfWorkflow")(self.list_of_workflow),
            post("/v1/runs/{runId:str}/steps/{nodeId:str}/:complete", operation_id="completeStep", status_code=200)(
                self.complete
            ),
        ]

    async def start(self, request: AnyRequest) -> Reply:
        """Start a run; with `Prefer: wait=N` hold the answer until it ends, N seconds at most."""
        entry = self._door.enter(request, "runs:write")
        workflow_id = entry.id("wf", "workflowId", WorkflowNotFound)
        sent, raw = await self._door.read(entry, NEW)
        command = StartRun(
            target_id=self._deps.make_id(),
            workflow_id=workflow_id,
            inputs=await self._answers.kept(entry, sent.inputs, raw),
        )
        return await self._answers.execute(entry, command, raw)

    async def get(self, request: AnyRequest) -> Reply:
        """Give a run as its facts tell it."""
        entry = self._door.enter(request, "runs:read")
        run_id = entry.id("run", "runId", RunNotFound)
        await self._door.reach(entry, "runs")
        view = await self._view.get(entry.workspace_id, run_id)
        if view is None:
            raise RunNotFound
        return json_reply(200, await self._answers.whole(entry, view), etag(view.version))

    async def list_of_project(self, request: AnyRequest) -> Reply:
        """List a project's runs."""
        entry = self._door.enter(request, "runs:read", *PAGED, "status")
        project_id = await self._door.project(entry, "runs")
        return await self._list(entry, project_id=project_id)

    async def list_of_workflow(self, request: AnyRequest) -> Reply:
        """List a workflow's runs."""
        entry = self._door.enter(request, "runs:read", *PAGED, "status")
        workflow_id = entry.id("wf", "workflowId", WorkflowNotFound)
        await self._door.reach(entry, "workflows")
        await self._door.reach(entry, "runs")
        if await self._deps.workflows.get(entry.workspace_id, workflow_id) is None:
            raise WorkflowNotFound
        return await self._list(entry, workflow_id=workflow_id)

    async def _list(
        self,
        entry: Entry,
        *,
        project_id: UUID | None = None,
        workflow_id: UUID | None = None,
    ) -> Reply:
        asked = self._door.paging.asked(entry.query)
        listing = await self._view.list(
            entry.workspace_id,
            filters=RunFilters(
                project_id=project_id, workflow_id=workflow_id, status=choice_of(entry.query, "status", RunStatus)
            ),
            limit=asked.limit,
            cursor=asked.cursor,
            sort=asked.sort,
        )
        items = [run_body(view) for view in listing.items]
        return self._door.paging.reply(entry.path, entry.query, items, listing.next)

    async def complete(self, request: AnyRequest) -> Reply:
        """Decide a step that waits for a person."""
        entry = self._door.enter(request, "runs:approve")
        run_id = entry.id("run", "runId", RunNotFound)
        sent, raw = await self._door.read(entry, DECISION)
        command = DecideStep(
            target_id=run_id,
            node=entry.path_parameters["nodeId"],
            outcome=sent.outcome,
            data=sent.data,
            data_payload=await keep(self._deps.contents, entry.workspace_id, sent.data),
            comment=sent.comment,
            user_id=entry.caller.actor.id,
        )
        outcome = await self._door.execute(entry, command, raw)
        loaded: Folded[Run] = outcome.loaded
        return written(200, outcome, await self._answers.whole(entry, loaded))
