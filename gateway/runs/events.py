"""A run's events over HTTP: `GET /v1/runs/{runId}/events`, in JSON pages or as a stream that is followed."""

from collections.abc import Sequence
from typing import Final

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse

from commands.aggregates import RUN
from domain.folded import Folded
from domain.runs.refusals import RunNotFound
from domain.runs.run import Run
from gateway.deps import Deps
from gateway.endpoint import AnyRequest, Door, Entry
from gateway.http.paging import page_reply
from gateway.http.payloads import resolved
from gateway.http.rejections import OtherLog
from gateway.http.replies import Reply, encode, no_content
from gateway.runs.event_bodies import EventBody, event_body, payloads_of
from gateway.runs.sse import RunStream
from store.log.records import Recorded

STREAM: Final = b"text/event-stream"


class RunEvents:
    """The route of a run's events. They are read from the log itself, so they never lag."""

    def __init__(self, deps: Deps, door: Door) -> None:
        """Make it of what the gateway is built from."""
        self._deps = deps
        self._door = door

    def routes(self) -> list[HTTPRouteHandler]:
        """Give the route."""
        return [get("/v1/runs/{runId:str}/events", operation_id="listRunEvents")(self.events)]

    async def events(self, request: AnyRequest) -> ASGIResponse:
        """Give a run's events: a page of them, or with `Accept: text/event-stream` all, and then what follows."""
        entry = self._door.enter(request, "runs:read", "limit", "cursor", "after")
        run_id = entry.id("run", "runId", RunNotFound)
        streamed = STREAM in entry.headers.get(b"accept", b"")
        after = self._after(entry, streamed=streamed)
        loaded = await self._deps.streams.reload(RUN, run_id)
        if loaded is None or loaded.workspace_id != entry.workspace_id:
            raise RunNotFound
        if after > loaded.position:
            await self._refuse_unknown(after)
        if not streamed:
            return await self._page(entry, loaded, after)
        if loaded.state.ended and after >= loaded.position:
            return no_content()  # tells an EventSource not to come back

        async def write(fact: Recorded) -> bytes:
            (body,) = await self._bodies(entry, (fact,))
            return b"id: %b\nevent: %b\ndata: %b\n\n" % (body.id.encode(), body.topic.encode(), encode(body))

        return RunStream(
            self._deps.log,
            self._deps.drain,
            self._deps.deltas,
            run_id,
            after=after,
            heartbeat_seconds=self._deps.settings.heartbeat_seconds,
            write=write,
        )

    def _after(self, entry: Entry, *, streamed: bool) -> int:
        """Read the position to begin after: a stream's Last-Event-ID comes before `after`, a page's cursor too."""
        last = entry.headers.get(b"last-event-id") if streamed else None
        text = last.decode("latin-1") if last else entry.query.get("cursor") or entry.query.get("after")
        return self._door.mark.read(text) if text else 0

    async def _refuse_unknown(self, after: int) -> None:
        """Refuse a position that the log has not come to: the log was restored from before it. Raises OtherLog."""
        if after > (await self._deps.log.head())[0]:
            raise OtherLog

    async def _page(self, entry: Entry, loaded: Folded[Run], after: int) -> Reply:
        limit = self._door.paging.limit(entry.query)
        found = await self._deps.log.read_stream(loaded.stream_id, past=after, limit=limit + 1)
        shown = found[: min(limit, _fitting(found, self._deps.settings.page_bytes_max))]
        items = await self._bodies(entry, shown)
        return page_reply(entry.path, entry.query, items, items[-1].id if len(found) > len(shown) else None)

    async def _bodies(self, entry: Entry, facts: Sequence[Recorded]) -> list[EventBody]:
        payloads = (payload for one in facts for payload in payloads_of(one.fact))
        known = await resolved(self._deps.contents, entry.workspace_id, payloads)
        return [event_body(self._door.mark.write(one.position), one, known) for one in facts]


def _fitting(facts: Sequence[Recorded], most_bytes: int) -> int:
    """Give how many facts, one at least, fit into a page with all that they refer to."""
    size = 0
    for count, one in enumerate(facts):
        size += sum(payload.bytes or 0 for payload in payloads_of(one.fact))
        if size > most_bytes:
            return max(1, count)
    return len(facts)
