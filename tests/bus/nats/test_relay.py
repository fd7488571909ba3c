"""The relay: every fact is published, in order, whatever happens to it, to NATS, or to what NATS keeps."""

import asyncio
from contextlib import AsyncExitStack
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from bus.nats.relay import Relaying
from tests.support.bus.given import (
    STREAM,
    Process,
    append_project,
    assert_received_log,
    compute_event_ids,
    execute_statement,
    migrate_components,
    open_client,
    open_process,
    read_stream_ids,
    relay_bounds,
    wait_until_acquainted,
    wait_until_connected,
    wait_until_published,
)
from tests.support.projections.given import terminate_backend
from tests.support.servers.nats import NatsForTests
from tests.support.waiting import eventually

# nats-py is typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

CURSOR = "select position from relay_cursors where carrier = 'nats'"
LOST = "update relay_cursors set position = greatest(0, position - %s)"
RELAYS = "select pid from pg_stat_activity where datname = current_database() and starts_with(application_name, %s)"
STRANGE = """
update events set topic = 'run dreamt.>', state = '\\xff00', metadata = '[]' where notification_id = %s
"""


async def wait_until_away(process: Process) -> None:
    async def is_degraded() -> bool:
        return any("NATS is not connected" in said for said in process.bus.list_degraded())

    await eventually(is_degraded, what="the process says that NATS is away")


async def test_the_whole_log_is_published_once_in_order_and_the_cursor_follows(
    database: str, nats_server: NatsForTests
) -> None:
    await migrate_components(database)
    async with open_process(database) as before:
        await append_project(before.log, 250)
    async with open_process(database, nats_server, relays=True) as process:
        last = await append_project(process.log, 30)
        await wait_until_published(process, last)
        assert await read_stream_ids(nats_server) == await compute_event_ids(process, last)
        assert execute_statement(database, CURSOR) == [(last,)]


async def test_what_was_published_and_not_remembered_is_published_again_and_kept_once(
    database: str, nats_server: NatsForTests
) -> None:
    await migrate_components(database)
    async with open_process(database, nats_server, relays=True) as process:
        last = await append_project(process.log, 30)
        await wait_until_published(process, last)
    execute_statement(database, LOST, 20)
    async with open_process(database, nats_server, relays=True) as process:
        await wait_until_published(process, last)
        last = await append_project(process.log, 5)
        await wait_until_published(process, last)
        assert await read_stream_ids(nats_server) == await compute_event_ids(process, last)


async def test_a_fact_that_nobody_can_read_is_published_and_stops_nothing(
    database: str, nats_server: NatsForTests
) -> None:
    await migrate_components(database)
    async with open_process(database) as before:
        last = await append_project(before.log, 10)
    execute_statement(database, STRANGE, 5)
    async with open_process(database, nats_server, relays=True) as process:
        await wait_until_published(process, last)
        assert await read_stream_ids(nats_server) == await compute_event_ids(process, last)


async def test_what_outside_libraries_record_is_not_published_and_not_waited_for(
    database: str, nats_server: NatsForTests
) -> None:
    await migrate_components(database)
    async with open_process(database) as before:
        last = await append_project(before.log, 10)
    execute_statement(database, "update events set state_format = 0 where notification_id in (3, 4, 10)")
    async with open_process(database, nats_server, relays=True) as process:
        await wait_until_published(process, last)
        ids = await compute_event_ids(process, last)
        assert await read_stream_ids(nats_server) == [id_ for id_ in ids if id_ not in {ids[2], ids[3], ids[9]}]


async def test_one_relays_and_another_takes_over_when_its_connection_ends(
    database: str, nats_server: NatsForTests
) -> None:
    await migrate_components(database)
    async with AsyncExitStack() as stack:
        last = 0
        both = [await stack.enter_async_context(open_process(database, nats_server, relays=True)) for _ in range(2)]

        async def all_published() -> bool:
            return max(process.relay.position for process in both) >= last

        lines = stack.enter_context(capture_logs())
        for _ in range(3):
            last = await append_project(both[0].log, 10)
            await eventually(all_published, what="whoever relays has published everything")
            for (backend,) in execute_statement(database, RELAYS, "callsheet-relay@"):
                terminate_backend(database, int(str(backend)))
        last = await append_project(both[0].log, 10)
        await eventually(all_published, what="everything is published")
        for process in both:
            await process.wait_for(last)
            await assert_received_log(process)
        assert await read_stream_ids(nats_server) == await compute_event_ids(both[0], last)

        async def are_both_back() -> bool:  # one of them relays, and the other stands by
            events = [line["event"] for line in lines if line["log_level"] == "warning"]
            return events.count("relay.interrupted") == events.count("relay.back") > 0

        await eventually(are_both_back, what="each relay says that it is back")


@pytest.mark.parametrize("kept", ["kept", "wiped"])
async def test_nats_killed_and_started_again_costs_no_fact(database: str, nats_server: NatsForTests, kept: str) -> None:
    await migrate_components(database)
    async with (
        open_process(database, nats_server, relays=True) as relaying,
        open_process(database, nats_server) as other,
    ):
        await wait_until_connected(other)
        await wait_until_acquainted((relaying, other))
        last = await append_project(relaying.log, 20)
        await wait_until_published(relaying, last)
        nats_server.kill()
        await wait_until_away(relaying)
        await wait_until_away(other)
        while_away = await append_project(relaying.log, 20)
        await other.wait_for(while_away)
        if kept == "wiped":
            nats_server.wipe()
        nats_server.start()
        await wait_until_connected(relaying)
        await wait_until_connected(other)
        last = await append_project(other.log, 20)
        for each in (relaying, other):
            await each.wait_for(last)
            await assert_received_log(each)
        await wait_until_published(relaying, last)
        published_ids = await read_stream_ids(nats_server)
        wanted = await compute_event_ids(relaying, last)
        # What JetStream had acknowledged and not yet written may be gone; what came after the cursor never is.
        assert published_ids[-40:] == wanted[-40:]
        assert set(published_ids) <= set(wanted)


async def test_a_stream_restored_from_before_goes_on_with_what_comes(database: str, nats_server: NatsForTests) -> None:
    await migrate_components(database)
    async with (
        open_process(database, nats_server, relays=True) as relaying,
        open_process(database, nats_server) as other,
    ):
        await wait_until_published(relaying, await append_project(relaying.log, 20))
        nats_server.stop()
        nats_server.back_up()
        nats_server.start()
        await wait_until_connected(relaying)
        before = await append_project(relaying.log, 20)
        await wait_until_published(relaying, before)
        nats_server.stop()
        nats_server.restore()
        nats_server.start()
        await wait_until_connected(relaying)
        await wait_until_connected(other)
        last = await append_project(relaying.log, 20)
        await wait_until_published(relaying, last)
        await other.wait_for(last)
        await assert_received_log(other)
        wanted = await compute_event_ids(relaying, last)
        assert await read_stream_ids(nats_server) == wanted[:20] + wanted[40:]


async def test_a_stream_that_is_deleted_under_the_relay_is_made_again(database: str, nats_server: NatsForTests) -> None:
    await migrate_components(database)
    async with open_process(database, nats_server, relays=True) as process:
        before = await append_project(process.log, 5)
        await wait_until_published(process, before)
        async with open_client(nats_server) as client:
            await client.jetstream().delete_stream(STREAM.stream)
        last = await append_project(process.log, 5)
        await wait_until_published(process, last)
        assert await read_stream_ids(nats_server) == await compute_event_ids(process, last, after=before)


async def test_a_process_starts_without_nats_and_says_so_until_it_is_there(
    database: str, nats_server: NatsForTests
) -> None:
    await migrate_components(database)
    nats_server.stop()
    with capture_logs() as lines:
        await _start_without_nats(database, nats_server)
    levels = {line["event"]: line["log_level"] for line in lines if line["event"].startswith("bus.nats_")}
    assert (levels["bus.nats_away"], levels["bus.nats_back"]) == ("warning", "warning"), "as loud as the loss"


async def _start_without_nats(database: str, nats_server: NatsForTests) -> None:
    async with (
        open_process(database, nats_server, relays=True) as relaying,
        open_process(database, nats_server) as other,
    ):
        await wait_until_away(relaying)
        await wait_until_acquainted((relaying, other))
        last = await append_project(relaying.log, 5)
        await other.wait_for(last)
        nats_server.start()
        await wait_until_connected(relaying)
        assert relaying.bus.list_degraded() == ()
        await wait_until_published(relaying, last)


async def test_a_nats_that_hangs_is_noticed_and_what_it_did_not_acknowledge_is_published_again(
    database: str, nats_server: NatsForTests
) -> None:
    await migrate_components(database)
    async with (
        open_process(database, nats_server, relays=True, bounds=relay_bounds(ack_seconds=0.2)) as relaying,
        open_process(database, nats_server) as other,
    ):
        await wait_until_acquainted((relaying, other))
        await wait_until_published(relaying, await append_project(relaying.log, 5))
        nats_server.pause()
        last = await append_project(relaying.log, 5)
        await other.wait_for(last)

        async def is_refused() -> bool:
            return relaying.relay.doing is Relaying.REFUSED

        await eventually(is_refused, what="the relay says that nothing is acknowledged")
        assert any("the relay cannot publish" in said for said in relaying.bus.list_degraded())
        with capture_logs() as lines:
            nats_server.resume()
            last = await append_project(relaying.log, 5)
            await wait_until_published(relaying, last)
        assert ("relay.back", "warning") in [(line["event"], line["log_level"]) for line in lines]
        assert await read_stream_ids(nats_server) == await compute_event_ids(relaying, last)


async def test_an_envelope_of_a_stranger_is_not_taken(database: str, nats_server: NatsForTests) -> None:
    await migrate_components(database)
    async with (
        open_process(database, nats_server, relays=True) as relaying,
        open_process(database, nats_server) as other,
    ):
        await wait_until_connected(other)
        last = await append_project(relaying.log, 3)
        await other.wait_for(last)
        async with open_client(nats_server) as client:
            stranger = UUID("0192f000-0000-7000-8000-0000000000aa")
            for payload in (b"", b"{}", b"\xff" * 100, stranger.bytes):
                await client.publish("callsheet.v1.x.y.z.w", payload, headers={"Callsheet-Position": str(last + 1)})
            await client.flush()
        last = await append_project(relaying.log, 3)
        await other.wait_for(last)
        await assert_received_log(other)


async def test_facts_come_over_nats_and_the_log_is_not_read_for_them(database: str, nats_server: NatsForTests) -> None:
    await migrate_components(database)
    patient = open_process(database, nats_server, patience_seconds=20)
    async with open_process(database, nats_server, relays=True) as relaying, patient as other:
        await wait_until_connected(other)
        await asyncio.sleep(0)
        for _ in range(5):
            await other.wait_for(await append_project(relaying.log, 10))
        await assert_received_log(other)
