"""Health: `/healthz` says that the process answers, `/readyz` that it can serve; and the OpenAPI document."""

from litestar import get
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from gateway.deps import Deps
from gateway.endpoint import AnyRequest
from gateway.http.rejections import Draining
from gateway.http.replies import Reply, json_reply


class HealthBody(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the process is. `degraded` says what does not go on here, without saying whose it is."""

    status: str
    degraded: tuple[str, ...] = ()


class Health:
    """The routes that need no token."""

    def __init__(self, deps: Deps) -> None:
        """Make them of what the gateway is built from."""
        self._deps = deps

    def routes(self) -> list[HTTPRouteHandler]:
        """Give the routes."""
        return [
            get("/healthz", operation_id="getHealth")(self.healthy),
            get("/readyz", operation_id="getReadiness")(self.ready),
            get("/v1/openapi.json", operation_id="getOpenApi", include_in_schema=False)(self.openapi),
        ]

    async def healthy(self, request: AnyRequest) -> Reply:  # noqa: ARG002  # every route is given its request
        """Say that the process answers."""
        return json_reply(200, HealthBody(status="ok"))

    async def ready(self, request: AnyRequest) -> Reply:  # noqa: ARG002  # every route is given its request
        """Say that the log can be read and that the process does not drain. Raises Unavailable, Draining."""
        if self._deps.drain.begun:
            raise Draining
        await self._deps.log.head()
        await self._deps.checkpoints.refresh()
        return json_reply(200, HealthBody(status="ready", degraded=self._deps.degraded()))

    async def openapi(self, request: AnyRequest) -> Reply:
        """Give the OpenAPI document."""
        return json_reply(200, request.app.openapi_schema.to_schema())
