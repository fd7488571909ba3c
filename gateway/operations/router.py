"""Router: finds the endpoint of a request, by Litestar's routes.

Litestar matches paths; `gateway.app.Gateway` then serves the endpoint itself. Litestar's way from a route to its
handler (argument models, exit stack, response models) took 15 µs of 33 a request and none of it was needed, since
endpoints read requests and write responses themselves.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from litestar import Litestar
from litestar.exceptions import MethodNotAllowedException
from litestar.handlers import HTTPRouteHandler
from litestar.utils import normalize_path

from gateway.operations.endpoint import Endpoint
from gateway.operations.operation import Method, Operation

ENDPOINT: Final = "endpoint"


async def _serve_endpoint() -> None:
    """Stand in for the handler of a route: `Gateway` serves the endpoint of the route instead."""


class Router:
    """Litestar's routing table over endpoints."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        """Register a route for each endpoint."""
        handlers = [_create_route(endpoint) for endpoint in endpoints]
        self.litestar = Litestar(handlers, openapi_config=None, logging_config=None)

    def find(self, method: str, path: str) -> tuple[Endpoint, Mapping[str, str]]:
        """Return the endpoint of a request and its path parameters; HEAD is served by the endpoint of GET.

        Raises litestar's NotFoundException, and MethodNotAllowedException with every supported method.
        """
        try:
            found = self._match("GET" if method == "HEAD" else method, path)
        except MethodNotAllowedException:
            found = None
        if found is None:
            raise MethodNotAllowedException(headers={"Allow": ", ".join(self.list_methods(path))})
        return found

    def list_methods(self, path: str) -> tuple[str, ...]:
        """Return the methods that a path supports. Raises litestar's NotFoundException."""
        methods: list[str] = []
        for method in Method:
            try:
                found = self._match(method, path)
            except MethodNotAllowedException:
                continue
            if found is not None:
                methods += [method, "HEAD"] if method is Method.GET else [method]
        return (*methods, "OPTIONS")

    def _match(self, method: str, path: str) -> tuple[Endpoint, Mapping[str, str]] | None:
        _, handler, _, parameters, _ = self.litestar.asgi_router.handle_routing(
            path=normalize_path(split_verb(path)), method=method
        )
        endpoint: Endpoint | None = handler.opt.get(ENDPOINT)  # Litestar adds a handler for OPTIONS to every route
        return None if endpoint is None else (endpoint, parameters)


def _create_route(endpoint: Endpoint) -> HTTPRouteHandler:
    operation = endpoint.operation
    return HTTPRouteHandler(
        format_litestar_path(operation),
        http_method=operation.method.value,
        operation_id=operation.operation_id,
        opt={ENDPOINT: endpoint},
    )(_serve_endpoint)


def format_litestar_path(operation: Operation) -> str:
    """Return the path of an operation in Litestar's notation, with the verb as a segment of its own."""
    return split_verb(operation.path).replace("}", ":str}")


def split_verb(path: str) -> str:
    """Return a path with its verb as a segment of its own: `…/X:verb` becomes `…/X/:verb`.

    Litestar cannot match `{workflowId}:run`. A caller who sends `…/X/:verb` must not reach it.
    """
    start = path.rfind("/") + 1
    colon = path.find(":", start)
    if colon < 0:
        return path
    return f"{path[:start]}:{path[start:]}" if colon == start else f"{path[:colon]}/{path[colon:]}"
