"""Events of a project: `GET /v1/projects/{projectId}/events`, as pages of JSON or as an event stream.

They are read from the log itself, so they never lag.
"""

from typing import Annotated, Final

from msgspec import Meta

from bus.cloudevents import Event
from commands.aggregates import PROJECT
from domain.project import ProjectNotFound
from domain.suggestions import find_similar
from gateway.access.permissions import Permission
from gateway.deps import Deps
from gateway.http.rejections import CursorReset
from gateway.identity.scopes import Scope
from gateway.operations.context import RequestContext
from gateway.operations.operation import Method, Operation, respond_page
from gateway.operations.query import RunId, WorkflowId, malformed_parameter
from gateway.operations.results import Page, Response, Result
from gateway.projects import PROJECT_ID
from gateway.streams.events import (
    STREAM_RESPONSE,
    EventQuery,
    accepts_event_stream,
    create_page,
    find_start,
    get_page_limit,
    open_event_stream,
)
from gateway.streams.sources import ProjectFacts, ProjectFilters
from store.log.codec import TOPICS
from store.log.records import Recorded

Topics = Annotated[str, Meta(description="Topics to list, separated by commas, such as `run.completed,run.failed`.")]


class ProjectEventQuery(EventQuery, frozen=True, kw_only=True):
    """Query of the events of a project; without filters all of its workflows, assets and runs."""

    topic: Topics | None = None
    workflow_id: WorkflowId | None = None
    run_id: RunId | None = None


async def list_project_events(request: RequestContext[ProjectEventQuery, None], deps: Deps) -> Page | Result | Response:
    """Return a page of a project's events, or with `Accept: text/event-stream` all of them and then new ones live."""
    filters = parse_filters(request.query)
    is_stream = accepts_event_stream(request.headers)
    start = await find_start(request, deps, is_stream=is_stream)
    project = await deps.streams.reload(PROJECT, request.target_id)
    if project is None or project.workspace_id != request.workspace_id:
        raise ProjectNotFound
    source = ProjectFacts(
        deps.feed,
        deps.log,
        deps.drain,
        deps.history,
        deps.workflows_of_runs,
        workspace_id=request.workspace_id,
        project_id=request.target_id,
        filters=filters,
    )
    if is_stream:
        return open_event_stream(request, deps, source, start)
    limit = get_page_limit(request, deps)
    found = await read_facts(source, start.after, (await deps.log.head())[0], limit + 1)
    return await create_page(deps, request.workspace_id, found, limit)


def parse_filters(query: ProjectEventQuery) -> ProjectFilters:
    """Return the filters of a query. Raises Malformed for a topic that does not exist."""
    topics = None if query.topic is None else frozenset(query.topic.split(","))
    for topic in sorted(topics or ()):
        if topic not in TOPICS:
            similar = find_similar(topic, sorted(TOPICS), len(TOPICS))
            hint = f" Did you mean `{similar}`?" if similar is not None else ""
            raise malformed_parameter("topic", f"names `{topic[:100]}`, which is not a topic.{hint}")
    return ProjectFilters(topics=topics, workflow_id=query.workflow_id, run_id=query.run_id)


async def read_facts(source: ProjectFacts, after: int, head: int, limit: int) -> list[Recorded]:
    """Return at most `limit` matching facts after a position, up to the head."""
    found: list[Recorded] = []
    while after < head and len(found) < limit:
        page = await source.read(after, head)
        found += page.events
        after = page.through
    return found[:limit]


LIST_PROJECT_EVENTS: Final = Operation(
    method=Method.GET,
    path="/v1/projects/{projectId}/events",
    operation_id="listProjectEvents",
    tag="projects",
    summary="List the events of a project, as pages of JSON or with `Accept: text/event-stream` as a live stream.",
    scope=Scope.RUNS_READ,
    permission=Permission.READ,
    path_parameters=(PROJECT_ID,),
    query=ProjectEventQuery,
    responses=(respond_page(Event, "A page of events."), STREAM_RESPONSE),
    problems=(CursorReset,),
    last_event_id=True,
    accepts_ticket=True,
    handler=list_project_events,
)

OPERATIONS: Final = (LIST_PROJECT_EVENTS,)
