"""Facts as server-sent events (WHATWG HTML, section 9.2): replayed from the log, then followed live."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final
from uuid import UUID

import structlog
from litestar.types import HTTPResponseBodyEvent, HTTPResponseStartEvent, Receive, Send

from bus.deltas import DeltaFollower, DeltaHub
from bus.feed import FeedStopped
from gateway.http.rejections import Draining, TooMuchUnread, Unauthenticated
from gateway.http.replies import PIECE_BYTES, encode
from gateway.http.unread import CallerUnread
from gateway.streams.tail import Batch, LogTail
from store.errors import UnreadableEvent
from store.log.epochs import LogRewound
from store.log.records import Recorded

HEADERS: Final = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)
HEARTBEAT: Final = b":\n\n"
NO_BODY: Final[HTTPResponseBodyEvent] = {"type": "http.response.body", "body": b"", "more_body": True}
LAGGING: Final = b"event: lagging\ndata: {}\n\n"
RESUMED: Final = b"event: resumed\ndata: {}\n\n"
DRAINING: Final = b'retry: %d\nevent: closing\ndata: {"reason":"draining","retry_ms":%d}\n\n'
CREDENTIAL_ENDED: Final = b'event: closing\ndata: {"reason":"credential_ended","retry_ms":null}\n\n'

WriteFact = Callable[[Recorded], Awaitable[bytes]]
"""Encodes a fact as an event."""
IsOver = Callable[[Batch], Awaitable[bool]]
"""Returns whether nothing can follow a batch. Called with every batch, in order."""


Hold = Callable[[LogTail], AbstractContextManager[object]]
"""Stops a tail when the access of the caller ends, within a block."""


class CallerGone(Exception):  # noqa: N818  # ends the stream, and nothing else
    """The caller has disconnected."""


async def is_never_over(_batch: Batch) -> bool:
    """Return that more facts can always follow."""
    return False


class EventStream:
    """A response that streams a tail of the log until it is over, the caller disconnects or the process is stopping."""

    def __init__(
        self,
        tail: LogTail,
        write: WriteFact,
        unread: CallerUnread,
        *,
        retry_ms: int,
        is_over: IsOver = is_never_over,
        deltas: tuple[DeltaHub, UUID] | None = None,
        reset_to: str | None = None,
        hold: Hold = nullcontext,
    ) -> None:
        """Create a response. `retry_ms` is how long clients wait before they reconnect.

        With `reset_to` it begins with an event `reset`: what the caller has seen after that position is gone.

        With `deltas` (a hub and a run) the pieces of model responses are sent between the facts, without an id.
        `hold` stops the tail when the access of the caller ends. Raises TooManyStreams.
        """
        unread.check_streams()
        self._unread = unread
        self._tail = tail
        self._write = write
        self._retry_ms = retry_ms
        self._is_over = is_over
        self._deltas = deltas
        self._hold = hold
        self._logger = structlog.get_logger("gateway")
        self._reset_to = reset_to
        headers = HEADERS if reset_to is None else (*HEADERS, (b"callsheet-reset-position", reset_to.encode()))
        self.start: HTTPResponseStartEvent = {"type": "http.response.start", "status": 200, "headers": headers}

    async def deliver(self, receive: Receive, send: Send) -> None:
        """Send the stream; it ends early when its caller leaves too much unread elsewhere."""
        with self._unread.hold_stream():
            await self._deliver(receive, send)

    async def _deliver(self, receive: Receive, send: Send) -> None:
        await send(self.start)
        await _send(send, b"retry: %d\n\n" % self._retry_ms)
        if self._reset_to is not None:
            position = self._reset_to.encode()
            await _send(send, b'id: %b\nevent: reset\ndata: {"position":"%b"}\n\n' % (position, position))
        gone = asyncio.create_task(_wait_for_disconnect(receive, self._tail))
        try:
            with self._hold(self._tail):
                async for chunk in self._chunks():
                    with self._unread.hold_bytes(len(chunk)):
                        await _send(send, chunk)
                        await asyncio.sleep(0)  # the connection notices back-pressure when it writes
                        await send(NO_BODY)  # returns once the peer has taken most of the chunk
        except (CallerGone, TooMuchUnread):
            pass
        except Unauthenticated:
            await _send(send, CREDENTIAL_ENDED)
        except (Draining, FeedStopped, LogRewound):  # the caller reconnects with the last id that it has seen
            await _send(send, DRAINING % (self._retry_ms, self._retry_ms))
        except UnreadableEvent as fault:  # the caller reconnects, and gets a problem
            self._logger.warning("events.unreadable", position=fault.position, reason=str(fault))
        finally:
            gone.cancel()
        await _send(send, b"", more=False)

    async def _chunks(self) -> AsyncIterator[bytes]:
        hub, run_id = self._deltas or (None, None)
        following = nullcontext() if hub is None or run_id is None else hub.follow(run_id, self._tail.nudge)
        with following as deltas:
            async for batch in self._tail.follow():
                notice = LAGGING if batch.lagging else RESUMED if batch.resumed else b""
                sent = notice + (_encode_deltas(deltas) if deltas is not None else b"")
                async for piece in self._write_pieces(batch.facts):
                    sent += piece
                    if len(sent) >= PIECE_BYTES:
                        yield sent
                        sent = b""
                if sent or batch.is_live or not batch.facts:
                    yield sent or HEARTBEAT
                if await self._is_over(batch) and batch.is_live:
                    return

    async def _write_pieces(self, facts: Sequence[Recorded]) -> AsyncIterator[bytes]:
        """Yield encoded facts one by one: each can hold many megabytes."""
        for fact in facts:
            yield await self._write(fact)


def _encode_deltas(deltas: DeltaFollower) -> bytes:
    """Return the deltas that arrived as events without an id, since a stream cannot resume from a delta."""
    dropped, taken = deltas.take()
    gap = b'event: deltas-dropped\ndata: {"count":%d}\n\n' % dropped if dropped else b""
    return gap + b"".join(b"event: delta\ndata: %b\n\n" % encode(delta) for delta in taken)


async def _wait_for_disconnect(receive: Receive, tail: LogTail) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    tail.stop(CallerGone())


async def _send(send: Send, chunk: bytes, *, more: bool = True) -> None:
    if chunk or not more:
        event: HTTPResponseBodyEvent = {"type": "http.response.body", "body": chunk, "more_body": more}
        await send(event)
