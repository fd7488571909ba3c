"""HTTP/1.1 over one connection: strict framing, and limits on heads and on the time in which a request arrives.

uvicorn's own parsers were replaced: httptools stops at `Upgrade` (the body is lost, and what follows is read as the
next request), and h11 costs 60 µs a request (docs/decisions/0034).
"""

import asyncio
from typing import Any, ClassVar, Final, cast
from urllib.parse import unquote

import structlog
from uuid_utils.compat import uuid7
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from callsheet.server.close_delimited import CloseDelimitedCycle
from callsheet.server.request_parser import Body, Head, RequestParser, split_target
from callsheet.server.upgrade import is_websocket_request
from callsheet.server.websocket import BoundedWebSocket
from callsheet.server.write_coalescing import WriteCoalescingHttp
from gateway.http.problems import MEDIA_TYPE, describe_fault, encode_problem
from gateway.http.rejections import Rejection, RequestTooSlow
from gateway.http.trace import join_trace
from gateway.settings import HttpSettings

TAKEN_BYTES_MIN: Final = 16 * 1024
"""What a peer must take of a waiting response within each write timeout: 550 bytes a second."""
DEFAULTS: Final = HttpSettings()


class BoundedHttp(WriteCoalescingHttp):
    """uvicorn's connection over our parser, with limits; rejections are problem documents."""

    request_seconds_max: ClassVar[float] = DEFAULTS.request_seconds_max
    """How long a request may take to arrive whole, and a new connection to begin with one."""
    write_seconds_max: ClassVar[float] = DEFAULTS.unread_seconds_max
    """How long a peer may take hardly anything of a response that waits to be sent; then the connection is closed."""
    head_bytes_max: ClassVar[int] = DEFAULTS.head_bytes_max
    headers_max: ClassVar[int] = DEFAULTS.headers_max

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401  # as uvicorn has them
        """Begin with nothing received."""
        super().__init__(*arguments, **named)
        self._requests = RequestParser(head_bytes_max=self.head_bytes_max, headers_max=self.headers_max)
        self._reads_no_more = False
        self._timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._unsent = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn names the transport so too
        """Start the timer within which the connection must begin a request."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers."""
        self._stop_timer()
        self._stop_write_timer()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Start the timer within which the peer must take something of what waits to be sent."""
        super().pause_writing()
        self._start_write_timer()

    def resume_writing(self) -> None:
        """Stop that timer: the peer has taken enough."""
        super().resume_writing()
        self._stop_write_timer()

    def _start_write_timer(self) -> None:
        self._unsent = self.transport.get_write_buffer_size()
        self._write_timer = self.loop.call_later(self.write_seconds_max, self._on_write_timeout)

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _on_write_timeout(self) -> None:
        self._write_timer = None
        if self._unsent - self.transport.get_write_buffer_size() >= TAKEN_BYTES_MIN:
            self._start_write_timer()
        else:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parse a piece; a request that arrives whole, as nearly all do, starts no timer."""
        self._unset_keepalive_if_required()
        if self._reads_no_more or self.transport.is_closing():
            return
        try:
            for event in self._requests.feed(data):
                match event:
                    case Body(data=piece):
                        self._take_body(piece)
                    case Head() if self._is_idle() and is_websocket_request(event):
                        self._become_websocket(event)
                        return
                    case Head():
                        self._begin_request(event)
                    case _:
                        self._end_request()
                if self._reads_no_more:
                    return
        except Rejection as rejection:
            self._reject(rejection)
            return
        if self._timer is None and not self.transport.is_closing() and (self._is_arriving() or self._is_idle()):
            self._start_timer()

    def _begin_request(self, head: Head) -> None:
        """Start the application for a request, or queue it behind the one that is being answered."""
        self._stop_timer()
        self.scope = self._create_scope(head)
        kind = RequestResponseCycle if head.version == "1.1" else CloseDelimitedCycle
        busy = not self._is_idle()
        self.cycle = kind(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=head.expects_continue,
            keep_alive=head.keep_alive,
            on_response=self.on_response_complete,
        )
        app = cast("Any", self.app)
        if busy:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, app))
        else:
            self._start_asgi_task(self.cycle, app)

    def _become_websocket(self, head: Head) -> None:
        """Hand the connection over, with whatever follows the head."""
        self._stop_timer()
        self.connections.discard(self)
        websocket = BoundedWebSocket(self.config, self.server_state, self.app_state, self.loop)
        websocket.connection_made(self.transport)
        self.transport.set_protocol(websocket)
        websocket.begin(head.headers, self._create_scope(head))
        rest = self._requests.take_rest()
        if rest:
            websocket.data_received(rest)

    def _create_scope(self, head: Head) -> Any:  # noqa: ANN401  # an ASGI scope
        raw_path, query = split_target(head.method, head.target)
        path = raw_path.decode("ascii")
        return {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": head.version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": self.root_path,
            "headers": head.headers,
            "state": self.app_state.copy(),
            "method": head.method.decode("ascii"),
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": query,
        }

    def _take_body(self, piece: bytes) -> None:
        cycle = self.cycle
        if cycle.response_complete:
            return
        cycle.body += piece
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def _end_request(self) -> None:
        self._stop_timer()
        cycle = self.cycle
        self._reads_no_more = not cycle.keep_alive
        if not cycle.response_complete:
            cycle.more_body = False
            cycle.message_event.set()

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(self.request_seconds_max, self._on_timeout)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timeout(self) -> None:
        self._timer = None
        if self.pipeline or (self._requests.is_in_head and not self._is_idle()):
            self._start_timer()  # an earlier request is not answered yet, and so it may be we who do not read on
        elif self._is_arriving():
            self._reject(RequestTooSlow())
        else:
            self.transport.close()

    def _is_arriving(self) -> bool:
        return self._requests.is_in_body or self._requests.is_in_head

    def _is_idle(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)  # none before the first request, whatever uvicorn says
        return cycle is None or cycle.response_complete

    def _can_respond(self) -> bool:
        """Return whether the client would read the next response as the one to the request that is being parsed."""
        if self._requests.is_in_body:
            return not self.pipeline and not self.cycle.response_started
        return self._is_idle()

    def _reject(self, rejection: Rejection) -> None:
        """Respond with a problem and close; never parse on. An earlier request is answered first, if there is one."""
        self._reads_no_more = True
        self._stop_timer()
        if self._can_respond():
            problem = describe_fault(rejection)
            path = self.scope["path"] if self._requests.is_in_body else ""
            trace = join_trace(None, uuid7)
            structlog.get_logger("gateway.access").info(
                "request", status=problem.status, code=problem.code, trace_id=trace.trace_id
            )
            body = encode_problem(problem, instance=path, trace=trace)
            head = f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            self.transport.write(STATUS_LINE[problem.status] + head.encode() + body)
        elif not self._requests.is_in_body:
            self.cycle.keep_alive = False  # closes after the last response that is still due
            return
        self.transport.close()


def create_protocol(settings: HttpSettings) -> type[BoundedHttp]:
    """Return the protocol of a server with the limits of its settings."""

    class ConfiguredHttp(BoundedHttp):
        """HTTP with the limits of the settings."""

        request_seconds_max = settings.request_seconds_max
        write_seconds_max = settings.unread_seconds_max
        head_bytes_max = settings.head_bytes_max
        headers_max = settings.headers_max

    return ConfiguredHttp
