"""Run the parts of Callsheet in one process, from start-up to graceful shutdown."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Final, Literal

import structlog
import uvicorn

from bus.feed import FeedStopped
from callsheet.embedded.postgres import EmbeddedPostgres
from callsheet.embedded.supervision import keep_running
from callsheet.server.admin import AdminApp
from callsheet.server.bounded_http import create_protocol
from callsheet.server.gc_tuning import tune_garbage_collector
from callsheet.settings.load import Settings
from callsheet.wiring.core import COMPONENTS, EVERYTHING, Core, Part, open_core
from callsheet.wiring.gateway import create_gateway
from callsheet.wiring.models import list_model_providers
from callsheet.wiring.projections import ALL_PROJECTIONS
from domain.setting_types import SigningSecret
from gateway.drain import Drain
from gateway.settings import HttpSettings, StreamSettings
from store.errors import Unavailable
from store.failpoint import FailPointHook, noop
from store.log.epochs import LogRewound, Witness
from store.outage_log import OutageLog
from store.postgres.migrations import migrate
from store.retrying import Retrying

BACKLOG: Final = 2_048
"""Length of the queue of connections that are not accepted yet."""


class Server(uvicorn.Server):
    """uvicorn without signal handlers: `serve` handles signals for the whole process."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave the signals to `serve`."""
        yield


def create_uvicorn_config(
    app: Callable[..., Awaitable[None]],
    settings: HttpSettings,
    *,
    streams: StreamSettings = StreamSettings(),  # noqa: B008  # frozen
    lifespan: Literal["auto", "off"] = "auto",
) -> uvicorn.Config:
    """Return uvicorn's configuration of every server: bounded HTTP and WebSockets, logs by structlog only."""
    return uvicorn.Config(
        app,
        http=create_protocol(settings),
        lifespan=lifespan,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        ws="none",  # BoundedHttp creates them
        ws_max_size=streams.message_bytes_max,
        ws_ping_interval=streams.ping_seconds,
        ws_ping_timeout=streams.pong_seconds_max,
        ws_per_message_deflate=streams.compression,
        timeout_graceful_shutdown=int(settings.shutdown_seconds_max),
    )


async def serve(
    settings: Settings,
    conninfo: str,
    secret: SigningSecret,
    parts: frozenset[Part] = EVERYTHING,
    projections: Sequence[str] = ALL_PROJECTIONS,
    failpoint: FailPointHook = noop,
    *,
    embedded: EmbeddedPostgres | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; then stop taking requests, end open streams, and stop the parts in order.

    When the log was rewound by a restore of its database, everything starts again without what it held in memory.
    `failpoint` is a test hook called at each crash-sensitive point. An `embedded` server that dies is started again.

    Raises UnsafeDatabase, Unavailable at the start, and whatever ended a part that may not end.
    """
    name = f"{socket.gethostname()}-{os.getpid()}"
    listening: socket.socket | None = None
    remembered: tuple[Witness, ...] = ()
    signalled = _listen_for_signals()
    while not signalled.is_set():
        async with open_core(
            settings, conninfo, name=name, secret=secret, parts=parts, projections=projections, failpoint=failpoint,
            remembered=remembered,
        ) as core:  # fmt: skip
            life = Life(signalled)
            async with _keep_running(embedded, core):
                if Part.GATEWAY in parts:
                    listening = listening or listen(settings.http.host, settings.http.port)
                    await _serve_gateway(core, settings, secret, life, listening)
                else:
                    await _run_without_gateway(core, settings, life)
        if life.rewound is not None:
            structlog.get_logger("callsheet").error("callsheet.starting_again", reason=str(life.rewound))
            remembered = () if life.rewound.witness is None else (life.rewound.witness,)
            await _prepare_again(conninfo, signalled)
    if listening is not None:
        listening.close()
    structlog.get_logger("callsheet").info("callsheet.stopped")


async def _prepare_again(conninfo: str, signalled: asyncio.Event) -> None:
    """Wait until the database is back, and migrate it: the backup may be older than this version. A signal ends it.

    Raises UnsafeDatabase.
    """
    outages = OutageLog("callsheet", lost="database.away", back="database.back")
    retrying = Retrying(Unavailable, outages=outages)
    preparing = asyncio.ensure_future(retrying.call(lambda: migrate(conninfo, COMPONENTS)))
    stopping = asyncio.ensure_future(signalled.wait())
    try:
        await asyncio.wait({preparing, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if preparing.done():
            preparing.result()
    finally:
        stopping.cancel()
        preparing.cancel()


def _listen_for_signals() -> asyncio.Event:
    """Return an event that is set by SIGINT and SIGTERM."""
    signalled = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, signalled.set)
    return signalled


@asynccontextmanager
async def _keep_running(embedded: EmbeddedPostgres | None, core: Core) -> AsyncGenerator[None]:
    """Keep the embedded server running for the length of the block."""
    async with asyncio.TaskGroup() as group:
        keeping = None if embedded is None else group.create_task(keep_running(embedded, core.log.monitor))
        try:
            yield
        finally:
            if keeping is not None:
                keeping.cancel()


class Life:
    """One life of the parts of a process: it ends with a signal, or when the log turns out to be rewound."""

    def __init__(self, signalled: asyncio.Event) -> None:
        """Create it; `signalled` is set by SIGINT and SIGTERM."""
        self._signalled = signalled
        self._ended = asyncio.Event()
        self.rewound: LogRewound | None = None

    async def run(self, core: Core) -> None:
        """Keep the parts going until cancelled, or until the log turns out to be rewound."""
        try:
            await core.run()
        except BaseExceptionGroup as group:
            rewound, others = group.split(LogRewound)
            # What follows the feed ends with it.
            others = others and others.split(FeedStopped)[1]
            if rewound is None or others is not None:
                raise
            self.rewound = _find_rewound(rewound)
            self._ended.set()

    async def wait_until_over(self) -> None:
        """Wait for a signal, or until the log turns out to be rewound."""
        waits = [asyncio.ensure_future(event.wait()) for event in (self._signalled, self._ended)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def wait_until_connected(self, core: Core) -> None:
        """Wait until appends are taken, or until there is nothing to wait for."""
        waits = [asyncio.ensure_future(core.log.wait_until_connected()), asyncio.ensure_future(self.wait_until_over())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()


def _find_rewound(fault: BaseExceptionGroup[LogRewound] | LogRewound) -> LogRewound:
    """Return the exception in a group; the first one with a witness if there is one."""
    leaves = [fault] if isinstance(fault, LogRewound) else [_find_rewound(inner) for inner in fault.exceptions]
    return next((leaf for leaf in leaves if leaf.witness is not None), leaves[0])


async def _run_without_gateway(core: Core, settings: Settings, life: Life) -> None:
    """Run the parts of a process without the gateway."""
    async with asyncio.TaskGroup() as group:
        parts = group.create_task(life.run(core), name="core")
        await life.wait_until_connected(core)
        tune_garbage_collector()
        with _serve_admin_port(core, settings, group) as admin:
            structlog.get_logger("callsheet").info("callsheet.working", **_describe_process(core, settings), **admin)
            await life.wait_until_over()
        parts.cancel()


def _describe_process(core: Core, settings: Settings) -> dict[str, object]:
    """Return the fields of the start-up log line: parts, and model providers, so that scripted output is noticed."""
    told: dict[str, object] = {part.name.lower(): part in core.parts for part in (Part.ENGINE, Part.PROJECTIONS)}
    if Part.ENGINE in core.parts:
        told["models"] = (
            ", ".join(provider.name for provider in list_model_providers(settings)) or "scripted (no key is set)"
        )
    return told


async def _serve_gateway(
    core: Core, settings: Settings, secret: SigningSecret, life: Life, listening: socket.socket
) -> None:
    drain = Drain(core.feed)
    gateway = create_gateway(core, settings, secret, drain)
    server = Server(create_uvicorn_config(gateway.app, settings.http, streams=settings.stream))
    async with asyncio.TaskGroup() as group:
        parts = group.create_task(life.run(core), name="core")
        beside = group.create_task(gateway.run(), name="gateway tasks")
        await gateway.wait_until_ready()
        # A copy: uvicorn closes what it is given, and callers may connect while everything starts again.
        serving = group.create_task(server.serve(sockets=[listening.dup()]), name="gateway")
        await life.wait_until_connected(core)
        tune_garbage_collector()
        with _serve_admin_port(core, settings, group) as admin:
            url = format_url(listening)
            structlog.get_logger("callsheet").info(
                "callsheet.serving", url=url, **_describe_process(core, settings), **admin
            )
            await life.wait_until_over()
            drain.begin()
            server.should_exit = True
            await serving
        beside.cancel()
        parts.cancel()


@contextmanager
def _serve_admin_port(core: Core, settings: Settings, group: asyncio.TaskGroup) -> Generator[dict[str, str]]:
    """Serve the admin port for as long as the block lasts, if one is set; yields its field for the log line."""
    if settings.admin.port is None:
        yield {}
        return
    listening = listen(settings.admin.host, settings.admin.port, setting="CALLSHEET_ADMIN_PORT")
    server = Server(create_uvicorn_config(AdminApp(core), settings.http, lifespan="off"))
    group.create_task(server.serve(sockets=[listening]), name="admin")
    try:
        yield {"admin": format_url(listening)}
    finally:
        server.should_exit = True


def format_url(listening: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class CannotListen(Exception):  # noqa: N818  # an answer to the person who started us
    """The configured address cannot be bound."""


def listen(host: str, port: int, *, setting: str = "CALLSHEET_HTTP_PORT") -> socket.socket:
    """Return a socket that listens on the address. Raises CannotListen."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as taken:
        listening.close()
        reason = taken.strerror or str(taken)
        raise CannotListen(
            f"cannot listen on {host} port {port}: {reason} ({setting}=0 selects a free port)"
        ) from taken
    listening.set_inheritable(True)
    return listening
