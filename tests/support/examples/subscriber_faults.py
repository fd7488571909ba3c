"""What is done to the example subscribers: killed at a chosen moment, robbed of messages, given the log."""

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

from bus.raw_reads import head_of, page_after
from callsheet.operate.event_lines import envelope_of
from store.log.queries import LogFilter
from tests.support.bus.given import STREAM, client_of
from tests.support.examples.subscribers import Subscriber
from tests.support.servers.nats import NatsForTests
from tests.support.waiting import eventually

# nats-py is typed in part only.
# pyright: reportUnknownMemberType=false

COMMIT_SECONDS_MAX: Final = 3


async def consumer_of(server: NatsForTests, name: str) -> ConsumerInfo | None:
    async with client_of(server) as client:
        try:
            return await client.jetstream().consumer_info(STREAM.name, name)
        except NotFoundError:
            return None


async def delivered(server: NatsForTests, name: str, *, more_than: int = 0) -> int:
    """Wait until more than so many messages were delivered; gives how many."""
    found = 0

    async def came() -> bool:
        nonlocal found
        info = await consumer_of(server, name)
        found = info.delivered.consumer_seq if info is not None and info.delivered is not None else 0
        return found > more_than

    await eventually(came, what="messages are delivered")
    return found


async def keep_only(server: NatsForTests, messages: int) -> None:
    """Let the stream drop its oldest messages, as it does by age and size."""
    async with client_of(server) as client:
        jetstream = client.jetstream()
        there = (await jetstream.stream_info(STREAM.name)).config
        await jetstream.update_stream(there.evolve(max_msgs=messages))


async def committed_and_not_acknowledged(server: NatsForTests, subscriber: Subscriber, first: int) -> int:
    """Kill a subscriber after it has committed and before it is heard; gives how much it has committed.

    That is nothing, where the server was stopped before what it had delivered was on its way.
    """
    with held(subscriber.database) as connection:
        async with subscriber.following():
            await delivered(server, subscriber.durable, more_than=first)
            # The server hangs when it is acknowledged to, and is killed before it reads that.
            server.pause()
            connection.close()
            with move_on_after(COMMIT_SECONDS_MAX):
                await subscriber.has(1)
            server.kill()
    server.start()
    return subscriber.numbers()[0]


@contextmanager
def held(database: Path) -> Generator[sqlite3.Connection]:
    """Let nobody else write to a file, until the connection is closed."""
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("begin immediate")
    try:
        yield connection
    finally:
        connection.close()


async def log_from(database: str, position: int) -> str:
    """Give what `callsheet events tail --json` prints from a position on; the test of the page runs the command."""
    async with await psycopg.AsyncConnection.connect(database) as connection:
        head, log_id = await head_of(connection)
        found, _ = await page_after(connection, position - 1, head, head, LogFilter())
        return "".join(f"{json.dumps(envelope_of(log_id, stored))}\n" for stored in found)
