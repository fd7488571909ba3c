"""Egress guard against server-side request forgery: every call to a URL that users choose goes through it.

The host is resolved here, all of its addresses must be public, and the connection uses a checked address, so that DNS
rebinding has no effect. TLS and `Host` keep the name. Hosts in the operator's allow-list are not checked. Redirects
are not followed, and proxies from the environment are ignored.
"""

import asyncio
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from functools import lru_cache
from typing import Final, cast

import httpcore2
import httpx2
from msgspec import Struct

from engine.egress.allow_list import AllowList
from engine.egress.public_addresses import is_public
from engine.egress.stream import OutgoingBody, OutgoingConnection, OutgoingStream

ALLOWED_VARIABLE: Final = "CALLSHEET_OUTGOING_ALLOWED"
ADDRESSES_TRIED_MAX: Final = 4
KEPT_SECONDS: Final = 5.0
"""How long an idle connection is kept."""
CONNECT_SECONDS: Final = 10.0
"""Default connect timeout."""

_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\.?")
_NUMERIC_HOST: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?")
_ADDRESS_4: Final = re.compile(r"(?:(?:0|[1-9][0-9]{0,2})\.){3}(?:0|[1-9][0-9]{0,2})")
_ADDRESS_6: Final = re.compile(r"[0-9a-f.]*:[0-9a-f:.]*")
"""Without a zone, which would name a network interface of this machine."""
_PORTS: Final = {"http": 80, "https": 443}
_SocketOption = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Resolves a host to its addresses. Raises OSError if it has none."""


class OutgoingRefused(Exception):  # noqa: N818  # an expected outcome, not a bug
    """The URL must not be called. The message contains no address and no secret, so it may be recorded."""


async def resolve_by_system(host: str, port: int) -> list[str]:
    """Return the addresses of a host from the system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Guard(Struct, frozen=True, kw_only=True):
    """Decides which addresses may be called: public ones, and the hosts in the allow-list."""

    allowed: AllowList = AllowList()
    resolve: Resolve = resolve_by_system

    def check(self, url: httpx2.URL) -> None:
        """Check a URL without resolving its host. Raises OutgoingRefused."""
        if url.scheme not in _PORTS:
            raise OutgoingRefused("The URL must start with http:// or https://")
        if url.userinfo:
            raise OutgoingRefused("The URL must contain no user and no password")
        host = url.raw_host.decode("ascii", errors="replace")
        port = get_port(url)
        if not 0 < port < 65_536:  # noqa: PLR2004  # TCP's own
            raise OutgoingRefused("The port of the URL must be between 1 and 65535")
        if (host, port) not in self.allowed:
            _check_host_form(host)

    async def resolve_allowed(self, host: str, port: int) -> list[str]:
        """Return the addresses at which a host may be called. Raises OutgoingRefused, OSError."""
        try:
            found = await self.resolve(host, port)
        except UnicodeError:
            raise OutgoingRefused("The host of the URL is not a valid name") from None
        if not found:
            raise OSError("The host has no address")
        if (host, port) not in self.allowed and not all(is_public(address) for address in found):
            raise OutgoingRefused(
                "The host of the URL is not public. Only public addresses may be called, "
                f"and hosts that the operator lists in {ALLOWED_VARIABLE} (host or host:port)"
            )
        return found[:ADDRESSES_TRIED_MAX]


class GuardedTransport(httpx2.AsyncHTTPTransport):
    """A connection pool that connects only to addresses checked by the guard. Requests are never retried."""

    def __init__(self, guard: Guard, *, connections_max: int = 100) -> None:
        """Create it without connecting."""
        tls = _create_tls_context()
        super().__init__(verify=tls, trust_env=False)
        self._guard = guard
        # Replace the transport's own pool, which has no connections yet: only a pool accepts a network backend.
        self._pool = _GuardedPool(
            ssl_context=tls,
            max_connections=connections_max,
            max_keepalive_connections=20,
            keepalive_expiry=KEPT_SECONDS,
            network_backend=_GuardedBackend(guard),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request. Raises OutgoingRefused, and what httpx2 raises."""
        self._guard.check(request.url)
        response = await super().handle_async_request(request)
        stream = response.extensions["network_stream"]
        if isinstance(stream, OutgoingStream) and isinstance(response.stream, httpx2.AsyncByteStream):
            response.stream = OutgoingBody(response.stream, stream)
        return response


class _GuardedPool(httpcore2.AsyncConnectionPool):
    """A pool that does not reuse a connection with unread bytes."""

    def create_connection(self, origin: httpcore2.Origin) -> httpcore2.AsyncConnectionInterface:
        """Return a new connection, not opened yet."""
        return OutgoingConnection(
            origin=origin,
            ssl_context=self._ssl_context,
            keepalive_expiry=KEPT_SECONDS,
            network_backend=self._network_backend,
        )


class _GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Opens connections to checked addresses only."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        # The library defines this class twice, with and without anyio installed; the types do not say which one.
        self._network = cast("httpcore2.AsyncNetworkBackend", httpcore2.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # the interface of httpcore2
        local_address: str | None = None,
        socket_options: Iterable[_SocketOption] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Resolve the host, check its addresses, and connect to the first that accepts, all within the timeout."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS if timeout is None else timeout) as limit:
                return await self._connect(host, port, limit, local_address, socket_options)
        except TimeoutError:
            raise httpcore2.ConnectTimeout from None
        except OSError:
            raise httpcore2.ConnectError from None

    async def _connect(
        self,
        host: str,
        port: int,
        limit: asyncio.Timeout,
        local_address: str | None,
        socket_options: Iterable[_SocketOption] | None,
    ) -> httpcore2.AsyncNetworkStream:
        addresses = await self._guard.resolve_allowed(host, port)
        for tried, address in enumerate(addresses, start=1):
            left = (limit.when() or 0.0) - asyncio.get_running_loop().time()
            share = left / (len(addresses) - tried + 1)  # an unresponsive address must leave time for the others
            try:
                stream = await self._network.connect_tcp(address, port, share, local_address, socket_options)
                return OutgoingStream(stream)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                if tried == len(addresses):
                    raise
        raise httpcore2.ConnectError  # pragma: no cover  # `resolve_allowed` never returns an empty list


@lru_cache(maxsize=1)
def _create_tls_context() -> ssl.SSLContext:
    """Return the TLS context, cached: loading the trusted certificates takes a tenth of a second."""
    return httpx2.create_ssl_context(trust_env=False)


def get_port(url: httpx2.URL) -> int:
    """Return the port of an http or https URL, or the default of its scheme."""
    return _PORTS[url.scheme] if url.port is None else url.port


def _check_host_form(host: str) -> None:
    """Raise OutgoingRefused for a host in an unusual numeric form: 2130706433, 0x7f.1 and 127.1 are all 127.0.0.1."""
    lower = host.lower()
    if _ADDRESS_4.fullmatch(lower) or _ADDRESS_6.fullmatch(lower):
        return
    if _NUMERIC_HOST.fullmatch(lower) or not _NAME.fullmatch(lower):
        raise OutgoingRefused("The host of the URL must be a name, or an IP address in its usual form")
