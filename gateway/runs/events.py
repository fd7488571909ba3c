"""Events of a run: `GET /v1/runs/{runId}/events`, as pages of JSON or as an event stream.

They are read from the log itself, so they never lag.
"""

from typing import Final

from msgspec.structs import replace

from bus.cloudevents import Event
from commands.aggregates import RUN
from commands.repository import Streams
from domain.folded import Folded
from domain.runs.refusals import RunNotFound
from domain.runs.run import Run
from gateway.access.permissions import Permission
from gateway.deps import Deps
from gateway.http.rejections import CursorReset
from gateway.identity.scopes import Scope
from gateway.operations.context import RequestContext
from gateway.operations.operation import DeclaredResponse, Method, Operation, respond_page
from gateway.operations.results import Page, Response, Result
from gateway.runs.operations import RUN_ID
from gateway.runs.wait import fold_onto
from gateway.streams.events import (
    STREAM_RESPONSE,
    EventQuery,
    accepts_event_stream,
    create_page,
    find_start,
    get_page_limit,
    open_event_stream,
)
from gateway.streams.sources import RunFacts
from gateway.streams.tail import Batch


async def list_run_events(request: RequestContext[EventQuery, None], deps: Deps) -> Page | Result | Response:
    """Return a page of a run's events, or with `Accept: text/event-stream` all of them and then new ones live."""
    is_stream = accepts_event_stream(request.headers)
    start = await find_start(request, deps, is_stream=is_stream)
    loaded = await deps.streams.reload(RUN, request.target_id)
    if loaded is None or loaded.workspace_id != request.workspace_id:
        raise RunNotFound
    if not is_stream:
        limit = get_page_limit(request, deps)
        found = await deps.log.read_stream(loaded.stream_id, past=start.after, limit=limit + 1)
        return replace(await create_page(deps, loaded.workspace_id, found, limit), position=loaded.position)
    if loaded.state.has_ended and start.after >= loaded.position and start.reset_to is None:
        return Result(body=None, status=204)  # an EventSource does not reconnect after a 204
    source = RunFacts(deps.feed, deps.log, deps.drain, request.target_id)
    return open_event_stream(
        request,
        deps,
        source,
        start,
        is_over=RunEnd(deps.streams, loaded).is_over,
        deltas=(deps.deltas, request.target_id),
    )


class RunEnd:
    """Follows a run to find out when nothing more can happen in it."""

    def __init__(self, streams: Streams, loaded: Folded[Run]) -> None:
        """Start with the run as it was loaded."""
        self._streams = streams
        self._run = loaded

    async def is_over(self, batch: Batch) -> bool:
        """Return whether the run has ended with the facts sent so far; a retry begins it again."""
        run = fold_onto(self._run, batch.facts) or await self._streams.reload(RUN, self._run.stream_id)
        self._run = run or self._run
        return self._run.state.has_ended and batch.through >= self._run.position


LIST_RUN_EVENTS: Final = Operation(
    method=Method.GET,
    path="/v1/runs/{runId}/events",
    operation_id="listRunEvents",
    tag="runs",
    summary="List the events of a run, as pages of JSON or with `Accept: text/event-stream` as a live stream.",
    scope=Scope.RUNS_READ,
    permission=Permission.READ,
    path_parameters=(RUN_ID,),
    query=EventQuery,
    responses=(
        respond_page(Event, "A page of events."),
        STREAM_RESPONSE,
        DeclaredResponse(status=204, description="The run has ended and no event is left.", media_type=None),
    ),
    problems=(CursorReset,),
    last_event_id=True,
    accepts_ticket=True,
    handler=list_run_events,
)

OPERATIONS: Final = (LIST_RUN_EVENTS,)
