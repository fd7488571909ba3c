"""One connection to NATS, from its opening to its loss; the caller opens the next one."""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import structlog
from nats.aio.client import Client
from nats.errors import Error

from bus.settings import NatsSettings
from store.postgres.connections import cancellable

LOOK_SECONDS: Final = 0.5
"""Interval for checking that the connection is still open: nats-py does not report every loss."""

CLOSE_SECONDS: Final = 1.0
"""Limit for closing a connection; one that hangs has unsent bytes that the server does not read."""


class NatsAway(Exception):  # noqa: N818  # expected: the bus works without NATS, and retries
    """NATS cannot be reached, or the connection to it was lost."""


def create_tls_context(settings: NatsSettings) -> ssl.SSLContext | None:
    """Return the TLS context for the certificate files; None if there are none. Raises OSError for unusable files."""
    if settings.ca_file is None and settings.certificate_file is None:
        return None
    context = ssl.create_default_context(cafile=settings.ca_file)
    if settings.certificate_file is not None:
        context.load_cert_chain(settings.certificate_file, settings.key_file)
    return context


class NatsSession:
    """An open connection. It never reconnects by itself: then missed messages would go unnoticed."""

    def __init__(self, client: Client, lost: asyncio.Event) -> None:
        """Wrap a connected client; `lost` is set when its connection is lost."""
        self.client = client
        self._lost = lost

    async def until_lost(self) -> None:
        """Wait until the connection is lost, and raise NatsAway.

        nats-py calls no callback when its own closing fails or hangs over unsent bytes; so this polls too.
        """
        while self.client.is_connected:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._lost.wait()
        raise NatsAway(f"the connection was lost: {self.client.last_error or 'the server closed it'}")


@asynccontextmanager
async def answered_within(seconds: float) -> AsyncGenerator[None]:
    """Limit how long a block waits for the server. Raises NatsAway when the time is over."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise NatsAway("the server did not answer in time") from None


@asynccontextmanager
async def connected_to_nats(settings: NatsSettings, name: str) -> AsyncGenerator[NatsSession]:
    """Open a connection for the length of a block. Raises NatsAway when that fails."""
    client, lost = Client(), asyncio.Event()

    async def on_closed() -> None:
        lost.set()

    async def log_error(fault: Exception) -> None:
        structlog.get_logger("bus.nats").debug("nats.told", reason=str(fault))

    try:
        try:
            async with answered_within(settings.connect_seconds * len(settings.servers)):
                with cancellable():
                    await client.connect(**_options(settings, name), closed_cb=on_closed, error_cb=log_error)
        except (Error, OSError, ValueError) as away:  # ValueError: the server is not NATS
            raise NatsAway(str(away) or type(away).__name__) from away
        if not client.is_connected:  # nats-py accepts any line, and also none, as the answer to its first ping
            raise NatsAway("the server did not accept the connection")
        yield NatsSession(client, lost)
    finally:
        await _close(client, told_of=lost.is_set())


async def _close(client: Client, *, told_of: bool) -> None:
    """Close a client in whatever state it is; failures to close are ignored."""
    if client.is_closed and not told_of:
        # Its own closing failed or hangs. Run all of it again, or it leaves tasks behind.
        client._status = Client.DISCONNECTED  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # there is no public way
    with suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            # In its own task: when two tasks wait for a transport to close, the end of one cancels the other.
            await asyncio.gather(client.close(), return_exceptions=True)


def _options(settings: NatsSettings, name: str) -> dict[str, Any]:
    return {
        "servers": list(settings.servers),
        "name": name,
        "user": settings.user,
        "password": None if settings.password is None else settings.password.reveal(),
        "token": None if settings.token is None else settings.token.reveal(),
        "tls": create_tls_context(settings),
        "connect_timeout": settings.connect_seconds,
        "ping_interval": settings.ping_seconds,
        "max_outstanding_pings": 2,
        "allow_reconnect": False,
        "max_reconnect_attempts": 1,  # per server, within the one attempt to connect
        "reconnect_time_wait": 0.1,
        "no_echo": True,  # this process knows what it publishes
    }
