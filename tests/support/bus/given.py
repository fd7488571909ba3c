"""Set-up shared by the tests of the bus: processes on one log, each with its own bus, in one event loop."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, Protocol
from uuid import UUID

import nats
import psycopg
import uuid_utils.compat
from msgspec import structs
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from bus.bus import Bus
from bus.feed import Feed
from bus.in_process import InProcessBus
from bus.listener import Listener
from bus.nats.bus import NatsBus
from bus.nats.consumer import FactConsumer
from bus.nats.relay import Relay
from bus.presence import PresenceHub
from bus.settings import FeedSettings, NatsServers, NatsSettings, PresenceSettings
from domain.project import ProjectCreated, ProjectRenamed
from store.failpoint import FailPointHook, noop
from store.log.identity import create_identity
from store.log.log import Log
from store.log.records import Recorded
from store.postgres.migrations import migrate
from tests.support.projections.given import run_in_background
from tests.support.servers.nats import NatsForTests
from tests.support.store.given import create_append, open_log, read_whole_log, require_accepted
from tests.support.waiting import eventually

# nats-py is typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

COMPONENTS: Final = ("store", "engine", "bus", "projections")
STREAM: Final = NatsSettings(stream_bytes=64 * 1024 * 1024)
SLOW_POLL_SECONDS: Final = 30.0
"""A poll that no test waits for: what comes earlier was woken or carried."""


class HasUrl(Protocol):
    """A server that processes connect to."""

    @property
    def url(self) -> str:
        """Return the URL."""
        ...


class Process:
    """A log with its feed and its bus, as one process has them."""

    def __init__(self, log: Log, feed: Feed, bus: Bus) -> None:
        """Keep the parts; `received` holds the events of the feed so far."""
        self.log = log
        self.feed = feed
        self.bus = bus
        self.received: list[Recorded] = []

    async def collect(self) -> None:
        """Follow the feed from where it stands, and keep all that comes."""
        async for page in self.feed.follow(self.feed.through, 1_000):
            self.received.extend(page.events)

    async def wait_until_started(self) -> None:
        """Wait until the feed stands at the head."""

        async def stands() -> bool:
            return self.feed.through >= 0

        await eventually(stands, what="the feed has begun")

    async def wait_for(self, position: int) -> None:
        """Wait until all up to a position has come."""

        async def has_received() -> bool:
            return bool(self.received) and self.received[-1].position >= position

        await eventually(
            has_received, what=f"position {position} comes over the bus; the feed is at {self.feed.through}"
        )

    @property
    def relay(self) -> Relay:
        """Return the relay of a process that may relay."""
        assert isinstance(self.bus, NatsBus)
        assert self.bus.relay is not None
        return self.bus.relay


@asynccontextmanager
async def open_process(  # noqa: PLR0913  # what differs between tests, by name
    database: str,
    server: HasUrl | None = None,
    *,
    relays: bool = False,
    poll_seconds: float = SLOW_POLL_SECONDS,
    bounds: NatsSettings | None = None,
    patience_seconds: float = 0.1,
    connect_seconds: float = 5.0,
    presence_seconds: float = 75.0,
    failpoint: FailPointHook = noop,
) -> AsyncGenerator[Process]:
    """Run a process on a log during the block, with a bus over NATS if there is a server."""
    async with AsyncExitStack() as stack:
        log = await stack.enter_async_context(open_log(database))
        feed = Feed(log, FeedSettings(poll_seconds=poll_seconds))
        identity = log.identity
        listener = Listener(database, poll_seconds=0.2)
        presence = PresenceHub(PresenceSettings(expiry_seconds=presence_seconds))
        made: Bus = InProcessBus(listener, log, feed, presence)
        if server is not None:
            relay = Relay(database, identity, feed, bounds or relay_bounds(), failpoint=failpoint) if relays else None
            carrying = FactConsumer(identity, feed, 20_000)
            over = NatsSettings(
                url=NatsServers(server.url), connect_seconds=connect_seconds, patience_seconds=patience_seconds
            )
            made = NatsBus(listener, log, feed, carrying, relay, over, presence, name="callsheet test")
        process = Process(log, feed, made)
        for work in (feed.run(), made.run()):
            await stack.enter_async_context(run_in_background(work))
        await process.wait_until_started()
        await stack.enter_async_context(run_in_background(process.collect()))
        yield process


def relay_bounds(*, page_events: int = 100, ack_seconds: float = 5.0) -> NatsSettings:
    """Return settings of a relay that takes over quickly and publishes small pages."""
    return structs.replace(
        STREAM, relay_page_events=page_events, relay_ack_seconds=ack_seconds, relay_standby_seconds=0.1
    )


async def migrate_components(database: str) -> str:
    """Migrate a database to all components. Returns its connection string."""
    await migrate(database, COMPONENTS)
    return database


def execute_statement(database: str, statement: str, *parameters: object) -> list[tuple[object, ...]]:
    with psycopg.connect(database, autocommit=True) as connection:
        cursor = connection.execute(statement, parameters)  # pyright: ignore[reportArgumentType]  # a text made by the test
        return cursor.fetchall() if cursor.description else []


async def wait_until_connected(process: Process) -> None:
    """Wait until NATS carries for a process."""

    async def carries() -> bool:
        return isinstance(process.bus, NatsBus) and process.bus.is_connected

    await eventually(carries, what="NATS carries")


async def wait_until_acquainted(processes: Sequence[Process]) -> None:
    """Wait until each process wakes the others: for a moment after one has started they need not know of it."""

    async def is_known() -> bool:
        return len(processes) == 1 or all(process.log.wake_others for process in processes)

    await eventually(is_known, what="the processes know of each other")


async def append_project(log: Log, times: int = 1, *, stream: UUID | None = None) -> int:
    """Append `times` facts of a new project, one commit each. Returns the last position."""
    project = stream or uuid_utils.compat.uuid7()
    last = require_accepted(
        await log.append(create_append(project, 0, ProjectCreated(name="0", owner="ada"), project=project))
    )
    for number in range(1, times):
        fact = ProjectRenamed(name=str(number))
        last = require_accepted(await log.append(create_append(project, number, fact, project=project)))
    return last.position


async def wait_until_published(process: Process, position: int) -> None:
    """Wait until the relay of a process has been acknowledged up to a position."""

    async def is_relayed() -> bool:
        return process.relay.position >= position

    await eventually(
        is_relayed, what=f"the relay comes to {position}; it is {process.relay.doing}: {process.relay.fault}"
    )


@asynccontextmanager
async def open_client(server: NatsForTests) -> AsyncGenerator[Client]:
    """Connect to the server as an outside client."""
    client = await nats.connect(server.url, allow_reconnect=False)
    try:
        yield client
    finally:
        await client.close()


async def read_stream_ids(server: NatsForTests, name: str = STREAM.stream) -> list[str]:
    """Read the event ids of all that the stream keeps, in its order."""
    async with open_client(server) as client:
        jetstream = client.jetstream()
        try:
            state = (await jetstream.stream_info(name)).state
        except NotFoundError:
            return []
        ids: list[str] = []
        for sequence in range(state.first_seq, state.last_seq + 1):
            message = await jetstream.get_msg(name, sequence)
            ids.append((message.headers or {})["Nats-Msg-Id"])
        return ids


async def compute_event_ids(process: Process, position: int, *, after: int = 0) -> list[str]:
    """Return the event ids of the positions after `after` up to `position`."""
    _, log_id = await process.log.head()
    return [create_identity(log_id).format_event_id(number) for number in range(after + 1, position + 1)]


async def assert_received_log(process: Process) -> None:
    """Assert that the feed delivered exactly what the log holds from its first event on."""
    held = [fact for fact in await read_whole_log(process.log) if fact.position >= process.received[0].position]
    assert process.received == held


async def run_due_callbacks() -> None:
    """Run the callbacks that are due on this event loop."""
    for _ in range(10):
        await asyncio.sleep(0)
