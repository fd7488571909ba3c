"""The handshake of the WebSocket: its credential, and the origin of its page."""

from urllib.parse import parse_qsl, urlsplit

from gateway.delivery.cors import Cors
from gateway.deps import Deps
from gateway.http.headers import Headers
from gateway.http.rejections import Draining, NotPermitted
from gateway.identity.caller import Caller
from gateway.identity.tickets import find_ticket
from gateway.operations.query import malformed_parameter


async def authorise(deps: Deps, headers: Headers, query_string: bytes) -> Caller:
    """Return who opens a WebSocket, by `Authorization` or a ticket.

    Raises Malformed, NotPermitted for a page of another origin, Unauthenticated, Draining, Unavailable.
    """
    if deps.drain.begun:
        raise Draining
    for name, _ in parse_qsl(query_string.decode("latin-1"), keep_blank_values=True):
        if name != "ticket":
            raise malformed_parameter(name, "is not known here. Supported: `ticket`")
    check_origin(headers, Cors(deps.settings.cors_origins, deps.settings.cors_max_age_seconds))
    authorization = headers.get(b"authorization")
    ticket = find_ticket(query_string) if authorization is None else None
    if ticket is not None:
        return await deps.tickets.redeem(ticket)
    return await deps.identity.identify(authorization)


def check_origin(headers: Headers, cors: Cors) -> None:
    """Raise NotPermitted for a page of a host other than the server's that is not allowed.

    Browsers open WebSockets to any host without asking it first, unlike requests (RFC 6455, section 10.2).
    """
    origin = headers.get(b"origin")
    if origin is None:
        return
    text = origin.decode("latin-1")
    host = headers.get(b"host", b"").decode("latin-1")
    is_own = host != "" and urlsplit(text).netloc.lower() == host.lower()
    if not is_own and not cors.is_allowed(origin):
        raise NotPermitted(
            f"Pages of `{text[:200]}` may not open this WebSocket. The operator allows origins by "
            "CALLSHEET_HTTP_CORS_ORIGINS."
        )
