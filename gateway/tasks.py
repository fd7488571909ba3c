"""Tasks: `GET /v1/tasks`, the human steps that wait for the caller."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from msgspec import Struct

from domain.folded import Folded
from gateway.deps import Deps
from gateway.http.ids import format_id
from gateway.http.payloads import show_payload
from gateway.identity.scopes import Scope
from gateway.operations.context import RequestContext
from gateway.operations.operation import Method, Operation, respond_page
from gateway.operations.paging import PageRequest
from gateway.operations.query import ProjectId, RunId, WorkflowId
from gateway.operations.results import Page
from projections.read_models.tasks import CLOSING_TOPICS, get_closed_node
from projections.read_models.tasks_view import Assigned, Task, TaskFilters, TaskReader


class TaskQuery(Struct, frozen=True, kw_only=True):
    """Query of a list of tasks. `assigned=all` adds those of other people in the caller's projects."""

    page: PageRequest
    assigned: Assigned = Assigned.ME
    project_id: ProjectId | None = None
    workflow_id: WorkflowId | None = None
    run_id: RunId | None = None
    node: str | None = None


class TaskBody(Struct, frozen=True, kw_only=True):
    """A human step that waits for a decision. A large `shown` is a reference; the run has the whole value."""

    run_id: str
    node: str
    run_name: str
    workflow_id: str
    workflow_name: str | None
    project_id: str
    project_name: str | None
    attempt: int
    assignees: tuple[str, ...]
    roles: tuple[str, ...]
    outcomes: tuple[str, ...]
    form: dict[str, object] | None
    shown: Any
    until: datetime | None
    waiting_since: datetime


def create_task_body(folded: Folded[Task]) -> TaskBody:
    """Return a task as it is sent."""
    waiting = folded.state.waiting
    return TaskBody(
        run_id=format_id("run", folded.stream_id),
        node=waiting.node,
        run_name=folded.state.run_name,
        workflow_id=format_id("wf", folded.state.workflow_id),
        workflow_name=folded.state.workflow_name,
        project_id=format_id("prj", folded.project_id or folded.stream_id),
        project_name=folded.state.project_name,
        attempt=waiting.attempt,
        assignees=waiting.assignees,
        roles=waiting.roles,
        outcomes=waiting.outcomes,
        form=waiting.form,
        shown=show_payload(waiting.shown),
        until=waiting.until,
        waiting_since=waiting.waiting_since,
    )


async def list_tasks(request: RequestContext[TaskQuery, None], deps: Deps) -> Page:
    """List the human steps that wait for the caller."""
    query, caller = request.query, request.caller
    filters = TaskFilters(
        project_id=query.project_id, workflow_id=query.workflow_id, run_id=query.run_id, node=query.node
    )
    listing = await deps.tasks.inbox(
        request.workspace_id,
        TaskReader(user_id=caller.user_id, sees_workspace=caller.sees_workspace, project_ids=caller.project_ids),
        assigned=query.assigned,
        filters=filters,
        limit=query.page.limit,
        cursor=query.page.cursor,
        sort=query.page.sort,
    )
    open_tasks = await _drop_closed(deps, listing.items)
    return Page(items=[create_task_body(task) for task in open_tasks], next_cursor=listing.next)


async def _drop_closed(deps: Deps, tasks: Sequence[Folded[Task]]) -> list[Folded[Task]]:
    """Return the tasks that still wait according to the log: the read model may lag behind a recorded decision."""
    past: dict[UUID, int] = {}
    for task in tasks:
        past[task.stream_id] = min(task.position, past.get(task.stream_id, task.position))
    closed: dict[tuple[UUID, str | None], int] = {}
    for recorded in await deps.log.read_stream_tails(past, CLOSING_TOPICS):
        closed[recorded.stream_id, get_closed_node(recorded.fact)] = recorded.position
    return [
        task
        for task in tasks
        if max(closed.get((task.stream_id, node), 0) for node in (task.state.waiting.node, None)) < task.position
    ]


LIST_TASKS: Final = Operation(
    method=Method.GET,
    path="/v1/tasks",
    operation_id="listTasks",
    tag="tasks",
    summary="List the human steps that wait for the caller; with `assigned=all` all of the caller's projects.",
    scope=Scope.RUNS_READ,
    query=TaskQuery,
    responses=(respond_page(TaskBody, "A page of tasks."),),
    reads=("projects", "runs", "tasks"),
    handler=list_tasks,
)

OPERATIONS: Final = (LIST_TASKS,)
