"""Metrics: `/metrics`, where whoever watches the process reads its figures."""

from typing import Final

from litestar import get
from litestar.handlers import HTTPRouteHandler

from gateway.deps import Deps
from gateway.endpoint import AnyRequest
from gateway.http.replies import Reply

TEXT: Final = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")
"""The text format of Prometheus."""


class Metrics:
    """The route of the metrics. It needs no token, and tells nothing of any workspace."""

    def __init__(self, deps: Deps) -> None:
        """Make it of what the gateway is built from."""
        self._deps = deps

    def routes(self) -> list[HTTPRouteHandler]:
        """Give the route."""
        return [get("/metrics", operation_id="getMetrics")(self.metrics)]

    async def metrics(self, request: AnyRequest) -> Reply:  # noqa: ARG002  # every route is given its request
        """Give the metrics of this process."""
        return Reply(200, [TEXT], await self._deps.metrics())
