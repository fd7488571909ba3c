"""A run's facts as server-sent events (WHATWG HTML, section 9.2): replayed from the log, then followed live."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final
from uuid import UUID

import structlog
from litestar.types import HTTPResponseBodyEvent, HTTPResponseStartEvent, Receive, Send

from bus.deltas import DeltaFollower, DeltaHub
from bus.feed import FeedStopped
from bus.watch import StreamWatch, WatchOverrun
from commands.aggregates import RUN, fold
from domain.folded import Folded
from domain.runs.run import Run
from gateway.drain import Drain
from gateway.http.rejections import Draining
from gateway.http.replies import encode
from gateway.runs.wait import fold_onto
from store.errors import UnreadableEvent
from store.log.log import Log
from store.log.records import Recorded

PAGE: Final = 25
"""How many facts are held in memory for a slow reader."""
PIECE_BYTES: Final = 64 * 1024
"""How much is written before the connection's back-pressure is checked again."""
RETRY_MS: Final = 1_000
HEADERS: Final = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)
HEARTBEAT: Final = b":\n\n"

Write = Callable[[Recorded], Awaitable[bytes]]
"""Encodes a fact as an event."""


class CallerGone(Exception):  # noqa: N818  # ends the stream, and nothing else
    """The caller has disconnected."""


class RunStream:
    """The events of a run after a position, until the run ends, the caller disconnects or the process is stopping."""

    def __init__(
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
        """Create a stream; facts at the position `after` or before it are not sent."""
        self._log = log
        self._drain = drain
        self._deltas = deltas
        self._run_id = run_id
        self._after = after
        self._heartbeat_seconds = heartbeat_seconds
        self._write = write
        self._logger = structlog.get_logger("gateway")
        self.start: HTTPResponseStartEvent = {"type": "http.response.start", "status": 200, "headers": HEADERS}

    async def deliver(self, receive: Receive, send: Send) -> None:
        """Send the stream."""
        await send(self.start)
        await _send(send, b"retry: %d\n\n" % RETRY_MS)
        try:
            async for chunk in self._chunks(receive):
                await _send(send, chunk)
        except (CallerGone, Draining, FeedStopped):
            pass  # the caller reconnects with the last id that it has seen
        except UnreadableEvent as fault:  # the caller reconnects, and gets a problem
            self._logger.warning("events.unreadable", run=str(self._run_id), reason=str(fault))
        await _send(send, b"", more=False)

    async def _chunks(self, receive: Receive) -> AsyncIterator[bytes]:
        run: Folded[Run] | None = None
        while run is None or not run.state.has_ended:
            # Watched before the log is read, so that no fact falls in between.
            with self._drain.watch(self._run_id) as watch, self._deltas.follow(self._run_id, watch.nudge) as deltas:
                gone = asyncio.create_task(_wait_for_disconnect(receive, watch))
                try:
                    while page := await self._log.read_stream(
                        self._run_id, after=0 if run is None else run.version, limit=PAGE
                    ):
                        run = fold(RUN, run, page)
                        async for piece in self._write_pieces(page):
                            yield piece
                        await asyncio.sleep(0)  # let other requests run during a long replay
                    while run is None or not run.state.has_ended:
                        facts = await self._wait_for_facts(watch)
                        if facts is None:
                            yield HEARTBEAT
                            continue
                        yield _encode_deltas(deltas)
                        if not facts:
                            continue
                        advanced = fold_onto(run, facts)
                        if advanced is None:
                            break
                        new = [recorded for recorded in facts if run is None or recorded.version > run.version]
                        run = advanced
                        async for piece in self._write_pieces(new):
                            yield piece
                except WatchOverrun:
                    continue  # the caller is slow: read on from the log
                finally:
                    gone.cancel()

    async def _wait_for_facts(self, watch: StreamWatch) -> list[Recorded] | None:
        """Return new facts, None when a heartbeat is due."""
        try:
            async with asyncio.timeout(self._heartbeat_seconds):
                return await watch.facts()
        except TimeoutError:
            return None

    async def _write_pieces(self, facts: Sequence[Recorded]) -> AsyncIterator[bytes]:
        """Yield encoded facts in pieces: one fact can hold many megabytes, and a page of them too many."""
        piece = b""
        for recorded in facts:
            if recorded.position > self._after:
                piece += await self._write(recorded)
            if len(piece) >= PIECE_BYTES:
                yield piece
                piece = b""
        yield piece


def _encode_deltas(deltas: DeltaFollower) -> bytes:
    """Return the deltas that arrived as events without an id, since a stream cannot resume from a delta."""
    dropped, taken = deltas.take()
    gap = b'event: deltas-dropped\ndata: {"count":%d}\n\n' % dropped if dropped else b""
    return gap + b"".join(b"event: delta\ndata: %b\n\n" % encode(delta) for delta in taken)


async def _wait_for_disconnect(receive: Receive, watch: StreamWatch) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    watch.stop(CallerGone())


async def _send(send: Send, chunk: bytes, *, more: bool = True) -> None:
    if chunk or not more:
        event: HTTPResponseBodyEvent = {"type": "http.response.body", "body": chunk, "more_body": more}
        await send(event)
