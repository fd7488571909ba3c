"""The relay over a log that was rewound: nothing new is taken for a duplicate, and nothing advances silently."""

import asyncio
from uuid import uuid4

import pytest

from bus.feed import Feed
from bus.nats.connection import connected_to_nats
from bus.nats.relay import Relay, Relaying
from bus.nats.stream_witness import fetch_last_witness, read_last_witness
from bus.settings import FeedSettings, NatsServers, NatsSettings
from store.log.epochs import LogRewound
from store.log.log import Log
from tests.support.bus.given import (
    STREAM,
    append_project,
    execute_statement,
    migrate_components,
    open_client,
    open_process,
    read_stream_ids,
    relay_bounds,
    wait_until_published,
)
from tests.support.servers.nats import NatsForTests
from tests.support.store.given import create_append, open_log
from tests.support.waiting import eventually

# nats-py is typed in part only.
# pyright: reportUnknownMemberType=false

REWIND = "with gone as (delete from events where notification_id > %s) update log_head set position = %s"


async def relay_until_rewound(log: Log, database: str, server: NatsForTests, *, begun: asyncio.Event) -> LogRewound:
    """Relay until the log turns out to be rewound; set `begun` once it relays."""
    feed = Feed(log, FeedSettings(poll_seconds=30))
    relay = Relay(database, log.identity, feed, relay_bounds())
    following = asyncio.create_task(feed.run())
    async with connected_to_nats(NatsSettings(url=NatsServers(server.url)), "test") as session:
        relaying = asyncio.create_task(relay.run(session.client))

        async def is_relaying() -> bool:
            return relay.doing is Relaying.RELAYING or relaying.done()

        await eventually(is_relaying, what="it relays")
        begun.set()
        with pytest.raises(LogRewound) as rewound:
            await relaying
    following.cancel()
    return rewound.value


async def read_ids(server: NatsForTests, tag: str) -> list[str]:
    return [event_id for event_id in await read_stream_ids(server) if event_id.startswith(tag)]


async def test_a_duplicate_acknowledgement_for_a_new_fact_begins_an_epoch(
    database: str, nats_server: NatsForTests, capsys: pytest.CaptureFixture[str]
) -> None:
    await migrate_components(database)
    async with open_process(database, nats_server, relays=True) as process:
        last = await append_project(process.log, 3)
        await wait_until_published(process, last)
        old = process.log.identity
    async with open_log(database) as log:
        begun = asyncio.Event()
        relaying = asyncio.create_task(relay_until_rewound(log, database, nats_server, begun=begun))
        await begun.wait()
        async with open_client(nats_server) as client:  # what a log that went on from another restore has published
            headers = {"Nats-Msg-Id": old.format_event_id(last + 1)}
            await client.jetstream().publish("callsheet.v1.x.y.z.other", b"{}", headers=headers)
        await log.append(create_append(uuid4(), 0))
        assert "duplicate acknowledgement for a new fact" in str(await relaying)
        assert "relay.foreign_duplicate" in capsys.readouterr().out
        assert execute_statement(database, "select position from relay_cursors") == [(last,)]
    async with open_process(database, nats_server, relays=True) as process:
        await wait_until_published(process, last + 1)
        identity = process.log.identity
        assert (len(identity.epochs), identity.epoch.after) == (2, last)
        assert await read_ids(nats_server, identity.tag) == [f"{identity.tag}-{last + 1}"]


async def test_a_relay_that_gets_its_lock_compares_the_log_with_the_stream(
    database: str, nats_server: NatsForTests
) -> None:
    await migrate_components(database)
    async with open_process(database, nats_server, relays=True) as process:
        last = await append_project(process.log, 6)
        await wait_until_published(process, last)
    execute_statement(database, REWIND, last - 2, last - 2)
    execute_statement(database, "update relay_cursors set position = %s", last - 4)
    async with open_log(database) as log:
        rewound = await relay_until_rewound(log, database, nats_server, begun=asyncio.Event())
        assert f"has position {last}" in str(rewound)
    async with open_process(database, nats_server, relays=True) as process:
        last = await append_project(process.log, 5)
        await wait_until_published(process, last)
        identity = process.log.identity
        after = identity.epoch.after
        assert await read_ids(nats_server, identity.tag) == [f"{identity.tag}-{n}" for n in range(after + 1, last + 1)]


async def test_a_cursor_past_the_start_of_a_new_epoch_goes_back_to_it(database: str, nats_server: NatsForTests) -> None:
    await migrate_components(database)
    async with open_process(database, nats_server, relays=True) as process:
        last = await append_project(process.log, 6)
        await wait_until_published(process, last)
        state = process.log.identity
    execute_statement(database, f"select begin_epoch('{state.tag}', '0123456789ab', {last - 2}, 'a test')")
    async with open_process(database, nats_server, relays=True) as process:
        await wait_until_published(process, last)

        async def is_published() -> bool:
            return len(await read_ids(nats_server, "0123456789ab")) == 2

        await eventually(is_published, what="the facts after the restore point are published under their new ids")


async def test_the_last_fact_of_a_stream_is_found_behind_messages_of_strangers(
    database: str, nats_server: NatsForTests
) -> None:
    await migrate_components(database)
    async with open_process(database, nats_server, relays=True) as process:
        last = await append_project(process.log, 2)
        await wait_until_published(process, last)
    async with open_client(nats_server) as client:
        await client.jetstream().publish("callsheet.v1.x.y.z.other", b"nonsense")
        witness = await read_last_witness(client, STREAM.stream)
    assert witness is not None
    assert witness.mark.position == last
    fetched = await fetch_last_witness(NatsSettings(url=NatsServers(nats_server.url), stream=STREAM.stream), "test")
    assert fetched == witness


async def test_without_nats_there_is_no_witness_and_no_fault(nats_server: NatsForTests) -> None:
    nats_server.stop()
    settings = NatsSettings(url=NatsServers(nats_server.url), connect_seconds=0.2)
    assert await fetch_last_witness(settings, "test") is None
