"""The gateway as one ASGI application: the sequence of steps that every request passes."""

import random
from time import perf_counter
from typing import Any

from litestar.types import ASGIApp, Receive, Send

from gateway.catalog import OPERATIONS
from gateway.delivery.access_log import AccessLog
from gateway.delivery.cors import Cors
from gateway.delivery.response_headers import CLOSE, list_constant_headers, merge_headers
from gateway.deps import Deps
from gateway.http.headers import check_host, check_repeated, combine_headers
from gateway.http.paths import check_path
from gateway.http.preferences import note_ignored_preferences
from gateway.http.problems import create_problem_reply, describe_fault
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
    """Serves every request by the same steps: trace, host, route, endpoint, problem document, headers, count, send."""

    def __init__(self, router: Router, deps: Deps) -> None:
        """Create the application."""
        settings = deps.settings
        self._router = router
        self._litestar: Any = router.litestar
        self._deps = deps
        self._counts = deps.request_counts
        self._cors = Cors(settings.cors_origins, settings.cors_max_age_seconds)
        vary = ("Origin",) if self._cors.is_enabled else ()
        self._unrouted = list_constant_headers(vary, revalidates=False, is_page=False)
        self._access_log = AccessLog(settings.access_log_sampled, random.random)

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
        request = Request(
            method=scope["method"],
            path=scope["path"],
            headers=headers,
            query_string=scope["query_string"],
            trace=join_trace(headers.get(b"traceparent"), self._deps.make_id),
            receive=receive,
        )
        response = await self._respond(request, scope)
        self._finish(request, response)
        self._record(request, scope, response.start["status"], received_at)
        await response.deliver(receive, send)

    async def _respond(self, request: Request, scope: Any) -> Response:  # noqa: ANN401  # an ASGI scope
        """Return the response; every exception becomes a problem document."""
        method, headers = request.method, request.headers
        try:
            check_repeated(scope["headers"], headers)
            check_host(headers)
            check_path(request.path, scope["raw_path"])
            if method == "OPTIONS":
                return self._describe_path(request)
            if method == "HEAD":  # never a stream: its body is not sent
                request.headers = {**headers, b"accept": b"application/json"}
            endpoint, request.path_parameters = self._router.find(method, request.path)
            request.endpoint = endpoint
            return await endpoint.serve(request)
        except Exception as fault:  # noqa: BLE001  # every exception becomes a problem document
            details = describe_fault(fault)
            request.code = details.code
            return create_problem_reply(fault, details, method=method, path=request.path, trace=request.trace)

    def _describe_path(self, request: Request) -> Reply:
        """Return the answer to OPTIONS, which may be a preflight. Raises litestar's NotFoundException."""
        methods = ", ".join(self._router.list_methods(request.path))
        fields = self._cors.list_preflight_fields(request.headers, methods)
        return Reply(204, [(b"allow", methods.encode()), *fields])

    def _finish(self, request: Request, response: Response) -> None:
        """Add the headers of every response."""
        endpoint = request.endpoint
        headers = merge_headers(
            response.start["headers"], self._unrouted if endpoint is None else endpoint.constant_headers
        )
        headers.append((b"traceparent", request.trace.traceparent.encode()))
        headers += request.limit_fields
        if self._cors.is_enabled:
            headers += self._cors.list_fields(request.headers.get(b"origin"))
        if self._deps.drain.begun:
            headers.append(CLOSE)
        response.start["headers"] = note_ignored_preferences(headers) if b"prefer" in request.headers else headers

    def _record(self, request: Request, scope: Any, status: int, received_at: float) -> None:  # noqa: ANN401  # as above
        operation = None if request.endpoint is None else request.endpoint.operation
        self._counts.record(request.method, None if operation is None else operation.path, status, received_at)
        self._access_log.record(
            method=request.method,
            raw_path=scope["raw_path"],
            operation_id=None if operation is None else operation.operation_id,
            status=status,
            code=request.code,
            trace=request.trace,
            caller=request.caller,
            received_at=received_at,
        )
