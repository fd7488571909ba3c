"""The gateway as one ASGI application: Litestar's router behind the trace and the paths with verbs."""

from collections.abc import Callable
from time import perf_counter
from typing import Any
from uuid import UUID

from litestar import Litestar, Request
from litestar.openapi import OpenAPIConfig
from litestar.types import ASGIApp, HTTPResponseStartEvent, Message, Receive, Send

from gateway.assets import Assets
from gateway.deps import Deps
from gateway.endpoint import Door
from gateway.http.fast_path import FAULT, Ways
from gateway.http.problems import answer
from gateway.http.request_counts import Answers
from gateway.http.trace import Trace, trace_of
from gateway.http.verb_paths import VerbPaths, routed
from gateway.insights.routes import Insights
from gateway.ops.health import Health
from gateway.ops.metrics import Metrics
from gateway.projects import Projects
from gateway.runs.events import RunEvents
from gateway.runs.routes import Runs
from gateway.runs.verbs import RunVerbs
from gateway.tasks import Tasks
from gateway.workflows.routes import Workflows


def build_app(deps: Deps) -> ASGIApp:
    """Build the gateway. Serve it with lifespan events; call `deps.drain.begin()` before it is shut down."""
    door = Door(deps)
    nouns = (
        Projects(deps, door),
        Workflows(deps, door),
        Assets(deps, door),
        Runs(deps, door),
        RunVerbs(deps, door),
        RunEvents(deps, door),
        Tasks(deps, door),
        Insights(deps, door),
        Health(deps),
        Metrics(deps),
    )
    app = Litestar(
        route_handlers=[route for noun in nouns for route in noun.routes()],
        plugins=[VerbPaths()],
        exception_handlers={Exception: answer},
        logging_config=None,  # `answer` logs what is a bug, and refusals are no events
        openapi_config=OpenAPIConfig(title="Callsheet", version="1", path="/docs"),
    )
    return Gateway(app, deps.make_id, deps.answers)


class Gateway:
    """Gives each request its trace and its path as routed, before anything else looks at it."""

    def __init__(self, app: Litestar, make_id: Callable[[], UUID], answers: Answers) -> None:
        """Wrap the router; `make_id` begins traces, `answers` counts."""
        self._app: Any = app
        self._make_id = make_id
        self._answers = answers
        self._ways = Ways()

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:  # noqa: ANN401  # any ASGI scope
        """Serve one request, or the lifespan."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked_at = perf_counter()
        headers = dict(reversed(scope["headers"]))  # of one that came twice the first counts
        trace = trace_of(headers.get(b"traceparent"), self._make_id)
        method, path, host = scope["method"], scope["path"], headers.get(b"host")
        state = {**scope.get("state", {}), "trace": trace, "path": path}
        way = self._ways.of(method, path, host)
        if way is not None:
            ours: Any = {**scope, "state": state, "path_params": way.parameters, "path_template": way.template}
            try:
                reply = await way.handle(Request(ours, receive, send))
            except Exception as fault:  # noqa: BLE001  # Litestar has it answered: `Direct` raises it there again
                state = {**state, FAULT: fault}
            else:
                self._begin(reply.start, ours, trace, asked_at)
                await reply(ours, receive, send)
                return
        ours = {**scope, "path": routed(path), "state": state}
        await self._app(ours, receive, self._returning(ours, trace, asked_at, send))
        if way is None:
            self._ways.learn(method, path, host, ours)

    def _returning(self, scope: Any, trace: Trace, asked_at: float, send: Send) -> Send:  # noqa: ANN401  # ASGI
        async def send_traced(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._begin(message, scope, trace, asked_at)
            await send(message)

        return send_traced

    def _begin(self, start: HTTPResponseStartEvent, scope: Any, trace: Trace, asked_at: float) -> None:  # noqa: ANN401  # ASGI
        """Write the trace into an answer that begins, and count it."""
        start["headers"] = [*start["headers"], (b"traceparent", trace.traceparent.encode())]
        self._answers.begun(scope, start["status"], asked_at)
