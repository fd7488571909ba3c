"""Shared by the event operations of runs and projects: where to start, pages of JSON, and event streams."""

import random
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, Final
from uuid import UUID

from msgspec import Meta, Struct, field

from bus.deltas import DeltaHub
from gateway.delivery.accept import prefers
from gateway.deps import Deps
from gateway.http.payloads import SHOWN_BYTES_MAX
from gateway.http.rejections import CursorReset
from gateway.http.unread import CallerUnread
from gateway.operations.context import RequestContext
from gateway.operations.operation import DeclaredResponse
from gateway.operations.positions import PositionCodec
from gateway.operations.query import Limit, LogPosition, malformed_parameter, parse_time
from gateway.operations.results import Page
from gateway.runs.event_bodies import list_payloads
from gateway.streams.sse import EventStream, IsOver, is_never_over
from gateway.streams.tail import LogTail, Pace, Source
from store.log.records import Recorded

EVENT_STREAM: Final = "text/event-stream"
JSON_TYPE: Final = "application/json"
RETRY_MS: Final = (500, 1_500)
"""Reconnect delay of clients, random so that they do not all reconnect at the same time."""

STREAM_RESPONSE: Final = DeclaredResponse(
    status=200, description="The events, and new ones as they happen.", media_type=EVENT_STREAM
)


Moment = Annotated[
    str, Meta(description="Begin after this position, or with the events of this time (RFC 3339) and later ones.")
]
Ticket = Annotated[str, Meta(description="A ticket of `POST /v1/streams:ticket`, in place of `Authorization`.")]
Speed = Annotated[
    float, Meta(description="Streams only: replay the past at the pace it happened, so many times as fast.")
]


class EventQuery(Struct, frozen=True, kw_only=True):
    """Query of a list of events after a position. `cursor` is that of a page, and overrides `after` and `from`."""

    limit: Limit | None = None
    cursor: LogPosition | None = None
    after: LogPosition | None = None
    from_: Moment | None = field(default=None, name="from")
    speed: Speed | None = None
    ticket: Ticket | None = None


def accepts_event_stream(headers: Mapping[bytes, bytes]) -> bool:
    """Return whether the caller wants an event stream instead of a page."""
    return prefers(headers.get(b"accept"), EVENT_STREAM, JSON_TYPE)


class Start(Struct, frozen=True, kw_only=True):
    """The position to start after. With `reset_to` the caller has seen later events that a restore has removed."""

    after: int
    reset_to: str | None = None


async def find_start(request: RequestContext[Any, None], deps: Deps, *, is_stream: bool) -> Start:
    """Return where to start: for a stream `Last-Event-ID` first, then `cursor`, `after` and `from`.

    A stream whose position a restore has removed from the log starts where that is still valid, and says so, since an
    EventSource cannot read a 410. Raises Malformed; CursorReset for such a position if a page is wanted.
    """
    codec = PositionCodec(deps.log.identity)
    try:
        return Start(after=await _find_position(request, deps, codec, is_stream=is_stream))
    except CursorReset as reset:
        if not is_stream:
            raise
        return Start(after=codec.decode(reset.reset_to), reset_to=reset.reset_to)


async def _find_position(
    request: RequestContext[Any, None], deps: Deps, codec: PositionCodec, *, is_stream: bool
) -> int:
    query = request.query
    last = request.headers.get(b"last-event-id") if is_stream else None
    if last:
        after = _parse_last_event_id(codec, last)
    else:
        after = query.cursor or query.after or await _find_moment(deps, codec, query.from_)
    if after > deps.feed.through and after > (head := (await deps.log.head())[0]):
        raise codec.create_reset(head)  # the log was restored from an older backup
    return after


def _parse_last_event_id(codec: PositionCodec, last: bytes) -> int:
    try:
        return codec.decode(last.decode("latin-1"))
    except ValueError as fault:
        raise malformed_parameter("Last-Event-ID", str(fault)) from fault


async def _find_moment(deps: Deps, codec: PositionCodec, moment: str | None) -> int:
    """Return the position before a moment, which is a position or a time; 0 without one."""
    if not moment:
        return 0
    try:
        return codec.decode(moment)
    except ValueError:
        pass  # not a position: a time
    try:
        at = parse_time(moment)
    except ValueError as fault:
        raise malformed_parameter("from", f"must be a position such as `1234`, or {str(fault)[8:]}") from fault
    return await deps.log.find_position(at - timedelta(microseconds=1))


def open_event_stream(
    request: RequestContext[Any, None],
    deps: Deps,
    source: Source,
    start: Start,
    *,
    is_over: IsOver = is_never_over,
    deltas: tuple[DeltaHub, UUID] | None = None,
) -> EventStream:
    """Return the response that streams a source after a position, until the caller's access ends."""
    pace = None
    if request.query.speed is not None:
        pace = Pace(speed=request.query.speed, gap_seconds_max=deps.stream_settings.replay_gap_seconds_max)
    tail = LogTail(
        source, after=start.after, heartbeat_seconds=deps.settings.heartbeat_seconds, pace=pace, turns=deps.replay_turns
    )
    retry_ms = random.randint(*RETRY_MS)  # noqa: S311  # jitter, nothing secret
    return EventStream(
        tail,
        deps.event_encoder.write,
        CallerUnread(deps.unread, request.caller),
        retry_ms=retry_ms,
        is_over=is_over,
        deltas=deltas,
        reset_to=start.reset_to,
        hold=request.hold,
    )


def get_page_limit(request: RequestContext[Any, None], deps: Deps) -> int:
    """Return how many events a page has at most."""
    return request.query.limit or deps.settings.page_items


async def create_page(deps: Deps, workspace_id: UUID, found: Sequence[Recorded], limit: int) -> Page:
    """Return a page of the first events of those found, one more than the limit if there are more."""
    fitting = found[: min(limit, count_fitting(found, deps.settings.page_bytes_max))]
    items: list[Any] = list(await deps.event_encoder.create_bodies(workspace_id, fitting))
    return Page(items=items, next_cursor=items[-1].id if len(found) > len(fitting) else None)


def count_fitting(facts: Sequence[Recorded], bytes_max: int) -> int:
    """Return how many facts, at least one, fit into a page with everything that they refer to."""
    size = 0
    for count, recorded in enumerate(facts):
        sizes = (payload.bytes or 0 for payload in list_payloads(recorded.fact))
        size += sum(shown for shown in sizes if shown <= SHOWN_BYTES_MAX)  # larger ones stay references
        if size > bytes_max:
            return max(1, count)
    return len(facts)
