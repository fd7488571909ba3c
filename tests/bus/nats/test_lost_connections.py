"""A lost connection to NATS is reported and replaced, at whatever point and however it is lost."""

import asyncio
import socket
from itertools import product
from pathlib import Path

import pytest
from nats.aio.msg import Msg

from bus.nats.connection import NatsAway, NatsSession, connected_to_nats
from bus.settings import NatsServers, NatsSettings
from tests.support.bus.breaking_nats import BreakingNats, Ending, Stage
from tests.support.bus.given import migrate_components, open_process, run_due_callbacks
from tests.support.waiting import eventually

# nats-py is typed in part only.
# pyright: reportUnknownMemberType=false

SOON = 4.0
"""Well below what nats-py waits by itself for a pong (10 s), and well above all waits of ours."""

LEFT_OPEN = {Ending.SILENT: 0.5, Ending.ANOTHER_LINE: 0.5, Ending.LONG_LINE: 0.5}
"""Nobody ends these connections but ours, when an answer is not there in time; in seconds."""


async def ignore_message(_message: Msg) -> None:
    """Discard a message."""


@pytest.mark.parametrize(("point", "ending"), list(product(Stage, Ending)))
async def test_after_a_connection_that_breaks_off_the_next_one_carries(
    database: str, point: Stage, ending: Ending
) -> None:
    await migrate_components(database)
    server = BreakingNats(point, ending)
    connect_seconds = LEFT_OPEN.get(ending, 2 * SOON)
    async with server.serving(), open_process(database, server, connect_seconds=connect_seconds) as process:

        async def carries() -> bool:
            return server.carries and process.bus.list_degraded() == ()

        await eventually(carries, what="the second connection carries", seconds=SOON)


async def publish_until_lost(access: NatsSettings) -> None:
    """Publish more and more over one connection. Raises NatsAway, in a group."""

    async def publish(session: NatsSession) -> None:
        while True:
            await session.client.publish("a", bytes(1_000_000))

    async with connected_to_nats(access, "callsheet test") as session, asyncio.TaskGroup() as group:
        group.create_task(session.until_lost())
        group.create_task(publish(session))


async def test_a_connection_that_takes_nothing_any_more_is_lost_also_while_much_waits_to_be_sent() -> None:
    server = BreakingNats(Stage.ANSWERED, Ending.SILENT)
    async with server.serving(), asyncio.timeout(SOON):
        with pytest.raises(ExceptionGroup) as lost:
            await publish_until_lost(NatsSettings(url=NatsServers(server.url), ping_seconds=0.1))
        assert lost.group_contains(NatsAway)


@pytest.mark.parametrize("point", [Stage.ANSWERED, Stage.SUBSCRIBED])
@pytest.mark.parametrize("turns", range(6))
async def test_a_connection_that_is_given_up_while_it_closes_leaves_nothing_behind(point: Stage, turns: int) -> None:
    before = asyncio.all_tasks()
    server = BreakingNats(point, Ending.CLOSED)
    async with (
        server.serving(),
        connected_to_nats(NatsSettings(url=NatsServers(server.url)), "callsheet test") as session,
    ):
        await session.client.subscribe("a", cb=ignore_message)
        while not session.client.is_closed:  # noqa: ASYNC110  # turns, not time
            await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
    await run_due_callbacks()
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("ending", [Ending.CLOSED, Ending.ANOTHER_LINE])
async def test_a_server_that_does_not_answer_the_first_ping_has_not_taken_the_connection(ending: Ending) -> None:
    server = BreakingNats(Stage.ASKED, ending)
    async with server.serving():
        with pytest.raises(NatsAway, match="did not accept the connection"):
            async with connected_to_nats(NatsSettings(url=NatsServers(server.url)), "callsheet test"):
                pass


async def test_a_server_that_cannot_be_reached_is_waited_for_once() -> None:
    with socket.socket() as full, socket.socket() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting.connect(full.getsockname())  # its queue is full now: whoever comes next hears nothing
        access = NatsSettings(url=NatsServers(f"nats://127.0.0.1:{full.getsockname()[1]}"), connect_seconds=1.0)
        with pytest.raises(NatsAway, match="did not answer in time"):
            async with asyncio.timeout(2 * access.connect_seconds), connected_to_nats(access, "callsheet test"):
                pass


async def test_without_its_certificates_nats_is_away() -> None:
    access = NatsSettings(url=NatsServers("nats://127.0.0.1:1"), ca_file=Path("/nowhere/ca.pem"))
    with pytest.raises(NatsAway, match="No such file"):
        async with connected_to_nats(access, "callsheet test"):
            pass
