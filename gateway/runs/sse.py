"""A run's facts as server-sent events (WHATWG HTML, section 9.2): replayed from the log, then followed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final
from uuid import UUID

import structlog
from litestar.response.base import ASGIResponse
from litestar.types import HTTPResponseBodyEvent, HTTPResponseStartEvent, Receive, Scope, Send

from bus.deltas import DeltaFollower, DeltaHub
from bus.feed import FeedStopped
from bus.watch import StreamWatch, WatchOverrun
from commands.aggregates import RUN, fold
from domain.folded import Folded
from domain.runs.run import Run
from gateway.drain import Drain
from gateway.http.rejections import Draining
from gateway.http.replies import encode
from gateway.runs.wait import continued
from store.errors import UnreadableEvent
from store.log.log import Log
from store.log.records import Recorded

PAGE: Final = 25
"""How many facts are held for a caller who does not read on."""
PIECE_BYTES: Final = 64 * 1024
"""How much is written for a caller before it is seen whether that caller takes it."""
RETRY_MS: Final = 1_000
HEADERS: Final = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)
HEARTBEAT: Final = b":\n\n"

Write = Callable[[Recorded], Awaitable[bytes]]
"""Writes a fact as an event."""


class CallerGone(Exception):  # noqa: N818  # ends the stream, and nothing else
    """The caller has hung up."""


class RunStream(ASGIResponse):
    """The stream of one run, from a position on, until the run ends, the caller is gone or the process drains."""

    def __init__(  # pyright: ignore[reportMissingSuperCall]  # one by name only, like Reply
        self,
        log: Log,
        drain: Drain,
        deltas: DeltaHub,
        run_id: UUID,
        *,
        after: int,
        heartbeat_seconds: float,
        write: Write,
    ) -> None:
        """Make it; `after` is a position in the log, and what is at it or before is not sent."""
        self._log = log
        self._drain = drain
        self._deltas = deltas
        self._run_id = run_id
        self._after = after
        self._heartbeat_seconds = heartbeat_seconds
        self._write = write
        self._logger = structlog.get_logger("gateway")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI
        """Send it."""
        start: HTTPResponseStartEvent = {"type": "http.response.start", "status": 200, "headers": list(HEADERS)}
        await send(start)
        await _send(send, b"retry: %d\n\n" % RETRY_MS)
        try:
            async for chunk in self._chunks(receive):
                await _send(send, chunk)
        except (CallerGone, Draining, FeedStopped):
            pass  # the caller comes back with the last id that it has seen, to whoever serves then
        except UnreadableEvent as fault:  # the caller comes back, and is told
            self._logger.warning("events.unreadable", run=str(self._run_id), reason=str(fault))
        await _send(send, b"", more=False)

    async def _chunks(self, receive: Receive) -> AsyncIterator[bytes]:
        run: Folded[Run] | None = None
        while run is None or not run.state.ended:
            # Watched from before the log is read: so nothing can fall in between.
            with self._drain.watch(self._run_id) as watch, self._deltas.follow(self._run_id, watch.nudge) as deltas:
                gone = asyncio.create_task(_hung_up(receive, watch))
                try:
                    while page := await self._log.read_stream(
                        self._run_id, after=0 if run is None else run.version, limit=PAGE
                    ):
                        run = fold(RUN, run, page)
                        async for piece in self._written(page):
                            yield piece
                        await asyncio.sleep(0)  # a long replay lets everyone else have a turn
                    while run is None or not run.state.ended:
                        facts = await self._facts(watch)
                        if facts is None:
                            yield HEARTBEAT
                            continue
                        yield _told(deltas)
                        if not facts:
                            continue
                        onward = continued(run, facts)
                        if onward is None:
                            break
                        new = [one for one in facts if run is None or one.version > run.version]
                        run = onward
                        async for piece in self._written(new):
                            yield piece
                except WatchOverrun:
                    continue  # the caller is slow: go on from the log
                finally:
                    gone.cancel()

    async def _facts(self, watch: StreamWatch) -> list[Recorded] | None:
        """Wait for facts; None when it is time for a sign of life."""
        try:
            async with asyncio.timeout(self._heartbeat_seconds):
                return await watch.facts()
        except TimeoutError:
            return None

    async def _written(self, facts: Sequence[Recorded]) -> AsyncIterator[bytes]:
        """Write facts in pieces: one fact can hold contents of many megabytes, and a page of them too much."""
        piece = b""
        for one in facts:
            if one.position > self._after:
                piece += await self._write(one)
            if len(piece) >= PIECE_BYTES:
                yield piece
                piece = b""
        yield piece


def _told(deltas: DeltaFollower) -> bytes:
    """Write the deltas that have come: events without an id, since nobody can go on from them."""
    dropped, taken = deltas.take()
    gap = b'event: deltas-dropped\ndata: {"count":%d}\n\n' % dropped if dropped else b""
    return gap + b"".join(b"event: delta\ndata: %b\n\n" % encode(delta) for delta in taken)


async def _hung_up(receive: Receive, watch: StreamWatch) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    watch.stop(CallerGone())


async def _send(send: Send, chunk: bytes, *, more: bool = True) -> None:
    if chunk or not more:
        event: HTTPResponseBodyEvent = {"type": "http.response.body", "body": chunk, "more_body": more}
        await send(event)
