"""One connection to NATS, from its opening to its loss; whoever holds it opens the next one."""

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
"""How often a session looks whether its connection is still there, as nats-py does not tell of every loss."""

CLOSE_SECONDS: Final = 1.0
"""How long a connection may take to close; one that hangs has bytes to send that nobody takes."""


class NatsAway(Exception):  # noqa: N818  # expected: the bus goes on without it, and tries again
    """NATS is not reached, or the connection to it was lost."""


def tls_of(settings: NatsSettings) -> ssl.SSLContext | None:
    """Return the TLS context for the certificate files; None if there are none. Raises OSError for files of no use."""
    if settings.ca_file is None and settings.certificate_file is None:
        return None
    context = ssl.create_default_context(cafile=settings.ca_file)
    if settings.certificate_file is not None:
        context.load_cert_chain(settings.certificate_file, settings.key_file)
    return context


class NatsSession:
    """An open connection. nats-py would connect again by itself; then nobody could tell what was missed meanwhile."""

    def __init__(self, client: Client, lost: asyncio.Event) -> None:
        """Take a connected client, and what tells that it is no more."""
        self.client = client
        self._lost = lost

    async def until_lost(self) -> None:
        """Wait, and raise NatsAway when the connection is lost.

        nats-py calls nobody when its own closing breaks off, or hangs, over what it had still to send.
        """
        while self.client.is_connected:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._lost.wait()
        raise NatsAway(f"the connection was lost: {self.client.last_error or 'the server closed it'}")


@asynccontextmanager
async def answered_within(seconds: float) -> AsyncGenerator[None]:
    """Bound what waits for the server. Raises NatsAway when the time is over."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise NatsAway("the server did not answer in time") from None


@asynccontextmanager
async def connected_to_nats(settings: NatsSettings, name: str) -> AsyncGenerator[NatsSession]:
    """Hold a connection for the length of a block. Raises NatsAway when there is none to be had."""
    client, lost = Client(), asyncio.Event()

    async def closed() -> None:
        lost.set()

    async def told(fault: Exception) -> None:
        structlog.get_logger("bus.nats").debug("nats.told", reason=str(fault))

    try:
        try:
            async with answered_within(settings.connect_seconds * len(settings.servers)):
                with cancellable():
                    await client.connect(**_options(settings, name), closed_cb=closed, error_cb=told)
        except (Error, OSError, ValueError) as away:  # ValueError: what answers is no NATS
            raise NatsAway(str(away) or type(away).__name__) from away
        if not client.is_connected:  # nats-py takes any line, and also none, for the answer to its first ping
            raise NatsAway("the server did not take the connection")
        yield NatsSession(client, lost)
    finally:
        await _close(client, told_of=lost.is_set())


async def _close(client: Client, *, told_of: bool) -> None:
    """Close a client, whatever state it is in; what goes wrong with that concerns nobody any more."""
    if client.is_closed and not told_of:
        # Its own closing broke off or hangs. It has to do all of it, or it leaves tasks behind.
        client._status = Client.DISCONNECTED  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # no public way
    with suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            # In a task of its own: where two wait for a transport to close, the end of one cancels the other.
            await asyncio.gather(client.close(), return_exceptions=True)


def _options(settings: NatsSettings, name: str) -> dict[str, Any]:
    return {
        "servers": list(settings.servers),
        "name": name,
        "user": settings.user,
        "password": None if settings.password is None else settings.password.reveal(),
        "token": None if settings.token is None else settings.token.reveal(),
        "tls": tls_of(settings),
        "connect_timeout": settings.connect_seconds,
        "ping_interval": settings.ping_seconds,
        "max_outstanding_pings": 2,
        "allow_reconnect": False,
        "max_reconnect_attempts": 1,  # of each server, within the one attempt to connect
        "reconnect_time_wait": 0.1,
        "no_echo": True,  # what this process publishes it knows
    }
