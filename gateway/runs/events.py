"""Events of a run: `GET /v1/runs/{runId}/events`, as pages of JSON or as an event stream.

They are read from the log itself, so they never lag.
"""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from msgspec import Struct

from commands.aggregates import RUN
from domain.folded import Folded
from domain.runs.refusals import RunNotFound
from domain.runs.run import Run
from gateway.deps import Deps
from gateway.http.payloads import fetch_contents
from gateway.http.rejections import OtherLog
from gateway.http.replies import encode
from gateway.identity.scopes import Scope
from gateway.operations.context import RequestContext
from gateway.operations.operation import DeclaredResponse, Method, Operation, respond_page
from gateway.operations.positions import PositionCodec
from gateway.operations.query import Limit, LogPosition, malformed_parameter
from gateway.operations.results import Page, Response, Result
from gateway.runs.event_bodies import EventBody, create_event_body, list_payloads
from gateway.runs.operations import RUN_ID
from gateway.runs.sse import RunStream
from store.log.records import Recorded

EVENT_STREAM: Final = b"text/event-stream"


class EventQuery(Struct, frozen=True, kw_only=True):
    """Which events to list: those after a position. `cursor` is that of a page, and comes before `after`."""

    limit: Limit | None = None
    cursor: LogPosition | None = None
    after: LogPosition | None = None


async def list_run_events(request: RequestContext[EventQuery, None], deps: Deps) -> Page | Result | Response:
    """Return a page of a run's events, or with `Accept: text/event-stream` all of them and then new ones live."""
    codec = PositionCodec(deps.log_id)
    is_stream = EVENT_STREAM in request.headers.get(b"accept", b"")
    after = _find_start(request, codec, is_stream=is_stream)
    loaded = await deps.streams.reload(RUN, request.target_id)
    if loaded is None or loaded.workspace_id != request.workspace_id:
        raise RunNotFound
    if after > loaded.position and after > (await deps.log.head())[0]:
        raise OtherLog  # the log was restored from a backup older than the position
    if not is_stream:
        return await _list_page(deps, codec, loaded, after, request.query.limit or deps.settings.page_items)
    if loaded.state.has_ended and after >= loaded.position:
        return Result(body=None, status=204)  # an EventSource does not reconnect after a 204

    async def write(fact: Recorded) -> bytes:
        (body,) = await _create_bodies(deps, codec, request.workspace_id, (fact,))
        return b"id: %b\nevent: %b\ndata: %b\n\n" % (body.id.encode(), body.topic.encode(), encode(body))

    return RunStream(
        deps.log,
        deps.drain,
        deps.deltas,
        request.target_id,
        after=after,
        heartbeat_seconds=deps.settings.heartbeat_seconds,
        write=write,
    )


def _find_start(request: RequestContext[EventQuery, None], codec: PositionCodec, *, is_stream: bool) -> int:
    """Return the position to start after: for a stream `Last-Event-ID` first, then `cursor`, then `after`."""
    last = request.headers.get(b"last-event-id") if is_stream else None
    if not last:
        return request.query.cursor or request.query.after or 0
    try:
        return codec.decode(last.decode("latin-1"))
    except ValueError as fault:
        raise malformed_parameter("Last-Event-ID", str(fault)) from fault


async def _list_page(deps: Deps, codec: PositionCodec, loaded: Folded[Run], after: int, limit: int) -> Page:
    found = await deps.log.read_stream(loaded.stream_id, past=after, limit=limit + 1)
    fitting = found[: min(limit, _count_fitting(found, deps.settings.page_bytes_max))]
    items: list[Any] = list(await _create_bodies(deps, codec, loaded.workspace_id, fitting))
    return Page(items=items, next_cursor=items[-1].id if len(found) > len(fitting) else None)


async def _create_bodies(
    deps: Deps, codec: PositionCodec, workspace_id: UUID, facts: Sequence[Recorded]
) -> list[EventBody]:
    payloads = (payload for recorded in facts for payload in list_payloads(recorded.fact))
    contents = await fetch_contents(deps.contents, workspace_id, payloads)
    return [create_event_body(codec.encode(recorded.position), recorded, contents) for recorded in facts]


def _count_fitting(facts: Sequence[Recorded], bytes_max: int) -> int:
    """Return how many facts, at least one, fit into a page with everything that they refer to."""
    size = 0
    for count, recorded in enumerate(facts):
        size += sum(payload.bytes or 0 for payload in list_payloads(recorded.fact))
        if size > bytes_max:
            return max(1, count)
    return len(facts)


LIST_RUN_EVENTS: Final = Operation(
    method=Method.GET,
    path="/v1/runs/{runId}/events",
    operation_id="listRunEvents",
    tag="runs",
    summary="List the events of a run, as pages of JSON or with `Accept: text/event-stream` as a live stream.",
    scope=Scope.RUNS_READ,
    path_parameters=(RUN_ID,),
    query=EventQuery,
    responses=(
        respond_page(EventBody, "A page of events."),
        DeclaredResponse(
            status=200, description="The events, and new ones as they happen.", media_type=EVENT_STREAM.decode()
        ),
        DeclaredResponse(status=204, description="The run has ended and no event is left.", media_type=None),
    ),
    problems=(OtherLog,),
    last_event_id=True,
    handler=list_run_events,
)

OPERATIONS: Final = (LIST_RUN_EVENTS,)
