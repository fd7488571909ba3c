"""The gateway as one ASGI application: Litestar's router behind the trace and the paths with verbs."""

from time import perf_counter
from typing import Any

from litestar import Litestar
from litestar.openapi import OpenAPIConfig
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Send

from gateway.assets import Assets
from gateway.deps import Deps
from gateway.door import Door
from gateway.health import Health
from gateway.insights import Insights
from gateway.metrics import Metrics
from gateway.problems import answer
from gateway.projects import Projects
from gateway.run_events import RunEvents
from gateway.run_verbs import RunVerbs
from gateway.runs import Runs
from gateway.tasks import Tasks
from gateway.trace import Trace, trace_of
from gateway.verbs import VerbPaths, routed
from gateway.workflows import Workflows


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
    return Gateway(app, deps)


class Gateway:
    """Gives each request its trace and its path as routed, before anything else looks at it."""

    def __init__(self, app: Litestar, deps: Deps) -> None:
        """Wrap the router."""
        self._app: Any = app
        self._make_id = deps.make_id
        self._answers = deps.answers

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:  # noqa: ANN401  # any ASGI scope
        """Serve one request, or the lifespan."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked_at = perf_counter()
        trace = trace_of(_header(scope, b"traceparent"), self._make_id)
        path: str = scope["path"]
        state = {**scope.get("state", {}), "trace": trace, "path": path}
        ours = {**scope, "path": routed(path), "state": state}
        await self._app(ours, receive, self._returning(ours, trace, asked_at, send))

    def _returning(self, scope: Any, trace: Trace, asked_at: float, send: Send) -> Send:  # noqa: ANN401  # ASGI
        header = (b"traceparent", trace.traceparent.encode())

        async def send_traced(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], header]
                self._answers.begun(scope, message["status"], asked_at)
            await send(message)

        return send_traced


def _header(scope: HTTPScope, name: bytes) -> bytes | None:
    for key, value in scope["headers"]:
        if key == name:
            return value
    return None
