"""Faults for the example subscribers: kills at chosen moments, and lost messages."""

import json
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg
from anyio import move_on_after
from nats.js.api import ConsumerInfo
from nats.js.errors import NotFoundError

from callsheet.operate.event_lines import build_envelope
from store.log.epochs import read_state
from store.log.queries import NO_FILTER
from store.log.raw_reads import read_raw_page
from tests.support.bus.given import STREAM, open_client
from tests.support.examples.subscribers import Subscriber
from tests.support.servers.nats import NatsForTests
from tests.support.waiting import eventually

# nats-py is typed in part only.
# pyright: reportUnknownMemberType=false

COMMIT_SECONDS_MAX: Final = 3


async def read_consumer(server: NatsForTests, name: str) -> ConsumerInfo | None:
    async with open_client(server) as client:
        try:
            return await client.jetstream().consumer_info(STREAM.stream, name)
        except NotFoundError:
            return None


async def wait_for_delivery(server: NatsForTests, name: str, *, more_than: int = 0) -> int:
    """Wait until more than `more_than` messages were delivered. Return how many."""
    found = 0

    async def has_arrived() -> bool:
        nonlocal found
        info = await read_consumer(server, name)
        found = info.delivered.consumer_seq if info is not None and info.delivered is not None else 0
        return found > more_than

    await eventually(has_arrived, what="messages are delivered")
    return found


async def limit_stream(server: NatsForTests, messages: int) -> None:
    """Limit the stream, so that it drops its oldest messages."""
    async with open_client(server) as client:
        jetstream = client.jetstream()
        there = (await jetstream.stream_info(STREAM.stream)).config
        await jetstream.update_stream(there.evolve(max_msgs=messages))


async def kill_between_commit_and_ack(server: NatsForTests, subscriber: Subscriber, first: int) -> int:
    """Kill a subscriber between its commit and its acknowledgement. Return the number of events committed.

    0 if the server was stopped before the delivered messages were sent.
    """
    with lock_database(subscriber.database) as connection:
        async with subscriber.run_in_background():
            await wait_for_delivery(server, subscriber.durable, more_than=first)
            # The server is paused while it is acknowledged to, and killed before it reads that.
            server.pause()
            connection.close()
            with move_on_after(COMMIT_SECONDS_MAX):
                await subscriber.wait_until_counted(1)
            server.kill()
    server.start()
    return subscriber.read_counts()[0]


@contextmanager
def lock_database(database: Path) -> Generator[sqlite3.Connection]:
    """Lock a SQLite file for writing until the connection is closed."""
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("begin immediate")
    try:
        yield connection
    finally:
        connection.close()


async def read_envelopes_from(database: str, position: int) -> str:
    """Return what `callsheet events tail --json` prints from a position on (a test of the page runs the command)."""
    async with await psycopg.AsyncConnection.connect(database) as connection:
        state = await read_state(connection)
        found, _ = await read_raw_page(
            connection, after=position - 1, head=state.head, limit=state.head, only=NO_FILTER
        )
        return "".join(f"{json.dumps(build_envelope(state.identity, stored))}\n" for stored in found)
