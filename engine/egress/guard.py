"""Outgoing safety: whoever is called at an address that people may choose is called through this guard.

A host is resolved here, every address that it has must be public, and the connection goes to the very address that was
looked at, so that a name which resolves differently a moment later gains nothing. TLS and `Host` keep the name. Hosts
that the operator allows are not looked at. Nothing is followed, and no proxy of the environment is used.
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
"""How long a connection that nobody uses is kept."""
CONNECT_SECONDS: Final = 10.0
"""Where the caller says nothing else."""

_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\.?")
_ODD_NUMBER: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?")
_ADDRESS_4: Final = re.compile(r"(?:(?:0|[1-9][0-9]{0,2})\.){3}(?:0|[1-9][0-9]{0,2})")
_ADDRESS_6: Final = re.compile(r"[0-9a-f.]*:[0-9a-f:.]*")
"""Without a zone: that would name an interface of this machine."""
_PORTS: Final = {"http": 80, "https": 443}
_SocketOption = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Gives the addresses of a host. Raises OSError where it has none."""


class OutgoingRefused(Exception):  # noqa: N818  # an answer to whoever chose the address
    """The address may not be called; the sentence says why and may be recorded: no address or secret is in it."""


async def resolve_by_system(host: str, port: int) -> list[str]:
    """Ask the system for the addresses of a host."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Guard(Struct, frozen=True, kw_only=True):
    """Decides which addresses may be called. Without an allow-list only public ones."""

    allowed: AllowList = AllowList()
    resolve: Resolve = resolve_by_system

    def check(self, url: httpx2.URL) -> None:
        """Judge what can be judged without resolving. Raises OutgoingRefused."""
        if url.scheme not in _PORTS:
            raise OutgoingRefused("an address that is called starts with http:// or https://")
        if url.userinfo:
            raise OutgoingRefused("an address that is called holds no user and no password")
        host = url.raw_host.decode("ascii", errors="replace")
        port = get_port(url)
        if not 0 < port < 65_536:  # noqa: PLR2004  # TCP's own
            raise OutgoingRefused("the port of the address does not exist")
        if (host, port) not in self.allowed:
            _refuse_odd(host)

    async def addresses(self, host: str, port: int) -> list[str]:
        """Return where a host may be called. Raises OutgoingRefused, OSError."""
        try:
            found = await self.resolve(host, port)
        except UnicodeError:
            raise OutgoingRefused("the host of the address is not a name") from None
        if not found:
            raise OSError("the host has no address")
        if (host, port) not in self.allowed and not all(is_public(address) for address in found):
            raise OutgoingRefused(
                "the host of the address is not public: only public addresses may be called, "
                f"and hosts that the operator allows in {ALLOWED_VARIABLE} (host or host:port)"
            )
        return found[:ADDRESSES_TRIED_MAX]


class GuardedTransport(httpx2.AsyncHTTPTransport):
    """A pool of connections, each to an address that the guard has looked at. A request is sent once: no retries."""

    def __init__(self, guard: Guard, *, connections_max: int = 100) -> None:
        """Create it without connecting."""
        tls = _tls()
        super().__init__(verify=tls, trust_env=False)
        self._guard = guard
        # Only a pool takes a network backend, so this one stands in for the transport's own, which has opened nothing.
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
    """A pool of connections that are not used again with anything left in them."""

    def create_connection(self, origin: httpcore2.Origin) -> httpcore2.AsyncConnectionInterface:
        """Return a connection that is to be opened. There are no proxies."""
        return OutgoingConnection(
            origin=origin,
            ssl_context=self._ssl_context,
            keepalive_expiry=KEPT_SECONDS,
            network_backend=self._network_backend,
        )


class _GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Opens connections to addresses that were looked at, and to nothing else."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        # The library defines this class twice, for want of anyio; with it, it is one of these.
        self._network = cast("httpcore2.AsyncNetworkBackend", httpcore2.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # the interface of httpcore2
        local_address: str | None = None,
        socket_options: Iterable[_SocketOption] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Resolve, look, and connect to the first address that answers, all within the timeout."""
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
        addresses = await self._guard.addresses(host, port)
        for tried, address in enumerate(addresses, start=1):
            left = (limit.when() or 0.0) - asyncio.get_running_loop().time()
            share = left / (len(addresses) - tried + 1)  # one that is silent must not take the time of the others
            try:
                stream = await self._network.connect_tcp(address, port, share, local_address, socket_options)
                return OutgoingStream(stream)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                if tried == len(addresses):
                    raise
        raise httpcore2.ConnectError  # pragma: no cover  # `addresses` is never empty


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    """Read the certificates that are trusted, once: it takes a tenth of a second."""
    return httpx2.create_ssl_context(trust_env=False)


def get_port(url: httpx2.URL) -> int:
    """Return the port that a URL of http or https means."""
    return _PORTS[url.scheme] if url.port is None else url.port


def _refuse_odd(host: str) -> None:
    """Refuse hosts that look like names and are numbers: 2130706433, 0x7f.1 and 127.1 are all this machine."""
    plain = host.lower()
    if _ADDRESS_4.fullmatch(plain) or _ADDRESS_6.fullmatch(plain):
        return
    if _ODD_NUMBER.fullmatch(plain) or not _NAME.fullmatch(plain):
        raise OutgoingRefused("the host of the address is neither a name nor an address in its usual form")
