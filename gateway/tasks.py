"""The inbox over HTTP: `GET /v1/tasks`, the human steps that wait for the caller."""

from datetime import datetime
from typing import Any

from litestar import get
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from domain.folded import Folded
from gateway.deps import Deps
from gateway.endpoint import AnyRequest, Door
from gateway.http.ids import shown_id
from gateway.http.paging import PAGED
from gateway.http.payloads import value_of
from gateway.http.query import choice_of, id_of
from gateway.http.replies import Reply
from projections.read_models.tasks_view import Assigned, Task, TaskFilters


class TaskBody(Struct, frozen=True, kw_only=True):
    """A task as it is sent; what is shown is a reference where it is large, and whole in the run."""

    run_id: str
    node: str
    workflow_id: str
    project_id: str
    attempt: int
    assignees: tuple[str, ...]
    roles: tuple[str, ...]
    outcomes: tuple[str, ...]
    form: dict[str, object] | None
    shown: Any
    until: datetime | None
    waiting_since: datetime


def task_body(view: Folded[Task]) -> TaskBody:
    """Write a task for the wire."""
    waiting = view.state.waiting
    return TaskBody(
        run_id=shown_id("run", view.stream_id),
        node=waiting.node,
        workflow_id=shown_id("wf", view.state.workflow_id),
        project_id=shown_id("prj", view.project_id or view.stream_id),
        attempt=waiting.attempt,
        assignees=waiting.assignees,
        roles=waiting.roles,
        outcomes=waiting.outcomes,
        form=waiting.form,
        shown=value_of(waiting.shown),
        until=waiting.until,
        waiting_since=waiting.waiting_since,
    )


class Tasks:
    """The route of tasks."""

    def __init__(self, deps: Deps, door: Door) -> None:
        """Make it of what the gateway is built from."""
        self._view = deps.tasks
        self._door = door

    def routes(self) -> list[HTTPRouteHandler]:
        """Give the routes."""
        return [get("/v1/tasks", operation_id="listTasks")(self.list_tasks)]

    async def list_tasks(self, request: AnyRequest) -> Reply:
        """List what waits for the caller; with `assigned=all` also what waits for others of the caller's projects."""
        narrowing = ("assigned", "project_id", "workflow_id", "run_id", "node")
        entry = self._door.enter(request, "runs:read", *PAGED, *narrowing)
        query = entry.query
        asked = self._door.paging.asked(query)
        assigned = choice_of(query, "assigned", Assigned) or Assigned.ME
        filters = TaskFilters(
            project_id=id_of(query, "project_id", "prj"),
            workflow_id=id_of(query, "workflow_id", "wf"),
            run_id=id_of(query, "run_id", "run"),
            node=query.get("node"),
        )
        for projection in ("projects", "runs", "tasks"):
            await self._door.reach(entry, projection)
        listing = await self._view.inbox(
            entry.workspace_id,
            entry.caller.actor.id,
            assigned=assigned,
            filters=filters,
            limit=asked.limit,
            cursor=asked.cursor,
            sort=asked.sort,
        )
        items = [task_body(view) for view in listing.items]
        return self._door.paging.reply(entry.path, query, items, listing.next)
