"""The gateway as one ASGI application: the sequence of steps that every request passes."""

from time import perf_counter
from typing import Any

from litestar.types import ASGIApp, Receive, Send

from gateway.catalog import OPERATIONS
from gateway.deps import Deps
from gateway.http.headers import check_host, combine_headers
from gateway.http.paths import check_path
from gateway.http.preferences import note_ignored_preferences
from gateway.http.problems import create_problem_reply
from gateway.http.replies import Reply
from gateway.http.trace import join_trace
from gateway.operations.endpoint import Endpoint, Request
from gateway.operations.results import Response
from gateway.operations.router import Router
from gateway.streams.socket import serve_socket


def build_app(deps: Deps) -> ASGIApp:
    """Build the gateway. Serve it with lifespan events; call `deps.drain.begin()` before it shuts down."""
    return Gateway(Router(Endpoint(operation, deps) for operation in OPERATIONS), deps)


class Gateway:
    """Serves every request by the same steps: trace, host, route, endpoint, problem document, count, send."""

    def __init__(self, router: Router, deps: Deps) -> None:
        """Create the application."""
        self._router = router
        self._litestar: Any = router.litestar
        self._deps = deps
        self._make_id = deps.make_id
        self._counts = deps.request_counts

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:  # noqa: ANN401  # any ASGI scope
        """Serve one request, one WebSocket, or the lifespan."""
        if scope["type"] == "websocket":
            await serve_socket(self._deps, scope, receive, send)
            return
        if scope["type"] != "http":
            await self._litestar(scope, receive, send)
            return
        received_at = perf_counter()
        headers = combine_headers(scope["headers"])
        trace = join_trace(headers.get(b"traceparent"), self._make_id)
        method, path = scope["method"], scope["path"]
        route: str | None = None
        response: Response
        try:
            check_host(headers)
            check_path(path, scope["raw_path"])
            if method == "OPTIONS":
                response = Reply(204, [(b"allow", ", ".join(self._router.list_methods(path)).encode())])
            else:
                if method == "HEAD":  # never a stream: its body is not sent
                    headers = {**headers, b"accept": b"application/json"}
                endpoint, parameters = self._router.find(method, path)
                route = endpoint.operation.path
                response = await endpoint.serve(
                    Request(method, path, headers, scope["query_string"], parameters, trace, receive)
                )
        except Exception as fault:  # noqa: BLE001  # every exception becomes a problem document
            response = create_problem_reply(fault, method=method, path=path, trace=trace)
        start = response.start
        start["headers"] = [*start["headers"], (b"traceparent", trace.traceparent.encode())]
        if b"prefer" in headers:
            start["headers"] = note_ignored_preferences(start["headers"])
        self._counts.record(method, route, start["status"], received_at)
        await response.deliver(receive, send)
