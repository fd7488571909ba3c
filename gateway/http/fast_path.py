"""The short way to the busiest route: routed and documented by Litestar, but handed over at once.

Litestar's own way from a route to its handler (argument models, an exit stack, response models) took 15 µs of 33; our
handlers take a request and give a reply that is ready to be sent, so none of that is needed. What comes before that
(routing, checks of the Host header, wrapped sending) took 15 more, and comes to the same for every request of one path:
so where a direct route has given a reply before, the next request of that path goes straight to its handler.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from litestar import Request
from litestar.middleware import DefineMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send
from msgspec import Struct

from gateway.http.replies import Reply

Handle = Callable[[Request[Any, Any, Any]], Awaitable[Reply]]

REPLIED: Final = "replied"
"""In the state of a request: the handler of a direct route that gave a reply."""

FAULT: Final = "fault"
"""In the state of a request: what its handler raised on the short way."""

MOST_KNOWN: Final = 10_000
LONGEST_KNOWN: Final = 200
"""How long a path and a host may be, together, to be remembered; those of ours are far shorter."""


class Direct:
    """Calls the handler itself, in the place of the route that it is the middleware of."""

    def __init__(self, app: ASGIApp, handle: Handle) -> None:
        """Take the route, which is not called, and its handler."""
        self._route = app
        self._handle = handle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request; what the handler raises is answered further out, as for every route."""
        about: Any = scope
        fault: Exception | None = about["state"].pop(FAULT, None)
        if fault is not None:
            try:
                raise fault
            finally:
                del fault  # kept here or in the state it would hold itself, by its traceback
        reply = await self._handle(Request(about, receive, send))
        about["state"][REPLIED] = self._handle
        await reply(scope, receive, send)


def direct(handle: Handle) -> DefineMiddleware:
    """Hand requests of a route to its handler directly."""
    return DefineMiddleware(Direct, handle=handle)


class Way(Struct, frozen=True):
    """Where requests of one path go, with what Litestar made of the path."""

    handle: Handle
    parameters: Mapping[str, str]
    template: str


class Ways:
    """The paths that are known to lead to direct routes, each with the method and the Host header that it came with."""

    def __init__(self, most_known: int = MOST_KNOWN) -> None:
        """Know none; past so many the one that was learnt first is forgotten."""
        self._most_known = most_known
        # To find the first of a plain dictionary is slow once many have been taken from its front: 3 µs of 4.
        self._known: OrderedDict[tuple[str, str, bytes | None], Way] = OrderedDict()

    def of(self, method: str, path: str, host: bytes | None) -> Way | None:
        """Give the way of a request, None where Litestar has to find it."""
        return self._known.get((method, path, host))

    def learn(self, method: str, path: str, host: bytes | None, scope: Any) -> None:  # noqa: ANN401  # an ASGI scope
        """Remember the way of a request that Litestar has served, if a direct route has replied to it."""
        handle: Handle | None = scope["state"].get(REPLIED)
        if handle is None or len(path) + len(host or b"") > LONGEST_KNOWN:
            return
        self._known[method, path, host] = Way(handle, scope["path_params"], scope["path_template"])
        if len(self._known) > self._most_known:
            self._known.popitem(last=False)
