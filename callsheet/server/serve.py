"""Serving: all parts of Callsheet in one process, or those asked for, from the first connection to the last."""

import asyncio
import os
import signal
import socket
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Final

import structlog
import uvicorn

from callsheet.server.admin import Admin
from callsheet.server.bounded_http import BoundedHttp
from callsheet.server.gc_tuning import tune_garbage_collector
from callsheet.settings.load import Settings
from callsheet.wiring.core import EVERYTHING, Core, Part, gateway_of, opened
from callsheet.wiring.models import model_settings
from callsheet.wiring.projections import ALL_PROJECTIONS
from domain.setting_types import SigningSecret
from gateway.drain import Drain
from store.failpoint import FailPointHook, noop

BACKLOG: Final = 2_048
"""How many connections may wait to be taken."""


class Server(uvicorn.Server):
    """uvicorn, stopped by us: signals are for the whole process, not for the server alone."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave the signals to `serve`."""
        yield


async def serve(
    settings: Settings,
    conninfo: str,
    secret: SigningSecret,
    parts: frozenset[Part] = EVERYTHING,
    projections: Sequence[str] = ALL_PROJECTIONS,
    failpoint: FailPointHook = noop,
) -> None:
    """Serve until SIGINT or SIGTERM; then stop taking requests, end open streams, and stop the parts in order.

    `failpoint` is a test hook called at each crash-sensitive point.

    Raises UnsafeDatabase, Unavailable at the start, and whatever ended a part that may not end.
    """
    name = f"{socket.gethostname()}-{os.getpid()}"
    async with opened(
        settings, conninfo, name=name, secret=secret, parts=parts, projections=projections, failpoint=failpoint
    ) as core:
        stopping = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        if Part.GATEWAY in parts:
            await _serve(core, settings, secret, stopping)
        else:
            await _work(core, settings, stopping)
    structlog.get_logger("callsheet").info("callsheet.stopped")


async def _work(core: Core, settings: Settings, stopping: asyncio.Event) -> None:
    """Keep going what needs no gateway."""
    async with asyncio.TaskGroup() as group:
        parts = group.create_task(core.run(), name="core")
        await core.log.connected()
        tune_garbage_collector()
        with _administered(core, settings, group) as admin:
            structlog.get_logger("callsheet").info("callsheet.working", **_told(core, settings), **admin)
            await stopping.wait()
        parts.cancel()


def _told(core: Core, settings: Settings) -> dict[str, object]:
    """Give what this process does, and who answers prompts: nobody should take a scripted answer for a model's."""
    told: dict[str, object] = {part.name.lower(): part in core.parts for part in (Part.ENGINE, Part.PROJECTIONS)}
    if Part.ENGINE in core.parts:
        told["models"] = ", ".join(one.name for one in model_settings(settings)) or "scripted (no key is set)"
    return told


async def _serve(core: Core, settings: Settings, secret: SigningSecret, stopping: asyncio.Event) -> None:
    drain = Drain(core.feed)
    listening = listen(settings.http.host, settings.http.port)
    server = Server(
        uvicorn.Config(
            gateway_of(core, settings, secret, drain),
            http=BoundedHttp,
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=int(settings.http.shutdown_seconds_max),
        )
    )
    async with asyncio.TaskGroup() as group:
        parts = group.create_task(core.run(), name="core")
        serving = group.create_task(server.serve(sockets=[listening]), name="gateway")
        await core.log.connected()
        tune_garbage_collector()
        with _administered(core, settings, group) as admin:
            url = url_of(listening)
            structlog.get_logger("callsheet").info("callsheet.serving", url=url, **_told(core, settings), **admin)
            await stopping.wait()
            drain.begin()
            server.should_exit = True
            await serving
        parts.cancel()


@contextmanager
def _administered(core: Core, settings: Settings, group: asyncio.TaskGroup) -> Generator[dict[str, str]]:
    """Serve the admin port for as long as the block lasts, if one is set; gives what is told of it."""
    if settings.admin.port is None:
        yield {}
        return
    listening = listen(settings.admin.host, settings.admin.port, setting="CALLSHEET_ADMIN_PORT")
    server = Server(
        uvicorn.Config(
            Admin(core),
            http=BoundedHttp,
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=int(settings.http.shutdown_seconds_max),
        )
    )
    group.create_task(server.serve(sockets=[listening]), name="admin")
    try:
        yield {"admin": url_of(listening)}
    finally:
        server.should_exit = True


def url_of(listening: socket.socket) -> str:
    """Give where a socket listens."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class CannotListen(Exception):  # noqa: N818  # an answer to the person who started us
    """The address that we were told to listen on cannot be had."""


def listen(host: str, port: int, *, setting: str = "CALLSHEET_HTTP_PORT") -> socket.socket:
    """Take the address. Raises CannotListen."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as taken:
        listening.close()
        reason = taken.strerror or str(taken)
        raise CannotListen(f"cannot listen on {host} port {port}: {reason} ({setting}=0 takes a free one)") from taken
    listening.set_inheritable(True)
    return listening
