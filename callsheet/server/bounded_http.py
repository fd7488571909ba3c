"""HTTP with limits on the size of request heads and on the time in which a request arrives.

uvicorn's parser takes a head of any size, with work that grows by its square: one line without an end held the loop,
and so everybody, for as long as somebody sent. And it waits for ever for the rest of a request.
"""

import asyncio
from typing import Any, ClassVar, Final, cast

from uuid_utils.compat import uuid7
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from callsheet.server.write_coalescing import WriteCoalescingHttp
from gateway.http.problems import MEDIA_TYPE, describe_fault, encode_problem
from gateway.http.rejections import HeadTooLarge, Malformed, Rejection, RequestTooSlow
from gateway.http.trace import join_trace

HEAD_BYTES_MAX: Final = 64 * 1024
"""About how large a head may be: the piece of it that came first is not counted."""


class BoundedHttp(WriteCoalescingHttp):
    """uvicorn's HTTP/1.1 with limits on head size and arrival time; rejections are problem documents."""

    request_seconds_max: ClassVar[float] = 30
    """How long a request may take to arrive whole, and a new connection to begin with one."""

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401  # as uvicorn has them
        """Begin with nothing received."""
        super().__init__(*arguments, **named)
        self._arriving = False
        self._in_head = False
        self._begun_now = False
        self._head_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn names the transport so too
        """Start the timer within which the connection must begin a request."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse a piece; a request that arrives whole, as nearly all do, starts no timer."""
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._timer is None and (self._arriving or self._is_idle()):
            self._start_timer()
        if self._in_head and not self._begun_now:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self._reject(HeadTooLarge())
        self._begun_now = False

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._stop_timer()
        self._arriving = self._in_head = self._begun_now = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        """Begin its body."""
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End a request."""
        self._arriving = False
        self._stop_timer()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Respond with a problem: the data is not HTTP."""
        self._reject(Malformed(msg))

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(self.request_seconds_max, self._on_timeout)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timeout(self) -> None:
        self._timer = None
        if self.pipeline or (self._in_head and not self._is_idle()):
            self._start_timer()  # an earlier request is not answered yet, and so it may be we who do not read on
        elif self._arriving:
            self._reject(RequestTooSlow())
        else:
            self.transport.close()

    def _is_idle(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)  # none before the first request, whatever uvicorn says
        return cycle is None or cycle.response_complete

    def _can_respond(self) -> bool:
        """Return whether the client would read the next response as the one to the request that is being parsed."""
        if self._arriving and not self._in_head:
            return not self.pipeline and not self.cycle.response_started
        return self._is_idle()

    def _reject(self, rejection: Rejection) -> None:
        if self._can_respond():
            problem = describe_fault(rejection)
            scope: Any = self.scope or {}
            body = encode_problem(problem, instance=scope.get("path", ""), trace=join_trace(None, uuid7))
            head = f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            self.transport.write(STATUS_LINE[problem.status] + head.encode() + body)
        self.transport.close()
