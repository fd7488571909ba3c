"""A point-in-time restore of PostgreSQL under a process and live subscribers, as docs/operations.md describes it."""

import asyncio
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
from msgspec import Struct

from store.log.log import Log
from store.settings import StoreSettings
from tests.support.bus.given import open_client
from tests.support.callsheet.separate_processes import Gateway, Started, apart, gateway
from tests.support.examples.subscribers import (
    PROGRAMS,
    TYPESCRIPT,
    Subscriber,
    count_expected,
    stop_and_report,
)
from tests.support.gateway.given import TRANSFORM_CHAIN
from tests.support.servers.nats import NatsForTests
from tests.support.servers.node import install_node_packages
from tests.support.servers.restorable import RestorablePostgres
from tests.support.waiting import eventually

# nats-py is typed in part only.
# pyright: reportUnknownMemberType=false

STREAM = "CALLSHEET"
WAIT_SECONDS = 60
LONG_SECONDS = 10


@pytest.fixture
def restorable() -> Generator[RestorablePostgres]:
    server = RestorablePostgres()
    yield server
    server.destroy()


class State(Struct, frozen=True):
    """State of a log: its head, and the tag of its epoch."""

    head: int
    tag: str


def read_state(conninfo: str) -> State:
    with psycopg.connect(conninfo) as connection:
        row = connection.execute(
            "select position, (select tag from log_epochs order by number desc limit 1) from log_head"
        ).fetchone()
    assert row is not None
    return State(*row)


async def wait_for_new_epoch(conninfo: str, tag: str) -> State:
    async def is_new() -> bool:
        return read_state(conninfo).tag != tag

    await eventually(is_new, what="an epoch has begun", seconds=WAIT_SECONDS)
    return read_state(conninfo)


async def start_runs(client: Gateway, workflow: str, count: int) -> list[str]:
    """Run a workflow to its end, several times; return the runs."""
    path = f"/v1/workflows/{workflow}:run"
    return [(await asyncio.to_thread(client.post, path, {"inputs": {}}, prefer="wait=20"))["id"] for _ in range(count)]


async def wait_until_served(client: Gateway) -> None:
    async def is_served() -> bool:
        try:
            return (await asyncio.to_thread(client.client.post, "/v1/projects", json={"name": "x"})).status_code == 201
        except httpx2.TransportError:
            return False

    await eventually(is_served, what="writes are accepted again", seconds=WAIT_SECONDS)


async def check_counts(conninfo: str, report: dict[str, Any], *, removed: int) -> None:
    """Check that a subscriber counted every fact of the log once, and nothing else."""
    log = Log(conninfo, StoreSettings())
    async with log.open_readers():
        head, _ = await log.head()
        assert report["workflows"] == await count_expected(log)
    assert [(log["first"], log["last"], log["events"]) for log in report["logs"]] == [(1, head, head)]
    assert (report["gaps"], report["unreadable"]) == ([], 0)
    assert report["removed"] >= removed


@asynccontextmanager
async def subscribers(server: NatsForTests, folder: Path) -> AsyncGenerator[list[tuple[Subscriber, Any]]]:
    """Run both example subscribers for the length of a block."""
    made = [Subscriber(program, server, folder / f"{program.name}.db") for program in PROGRAMS]
    async with made[0].run_in_background() as first, made[1].run_in_background() as second:
        yield list(zip(made, (first, second), strict=True))


def count_events(subscriber: Subscriber, conninfo: str) -> bool:
    return subscriber.read_counts()[0] == read_state(conninfo).head


async def wait_until_all_counted(running: list[tuple[Subscriber, Any]], conninfo: str) -> None:
    for subscriber, _ in running:

        async def holds(subscriber: Subscriber = subscriber) -> bool:
            return count_events(subscriber, conninfo)

        await eventually(holds, what=f"{subscriber.durable} has counted the log", seconds=WAIT_SECONDS)


@pytest.mark.parametrize("window_seconds", [120, pytest.param(1, marks=pytest.mark.long)], ids=["within", "after"])
async def test_a_restore_under_traffic_loses_nothing_that_is_in_the_log_and_counts_nothing_twice(
    restorable: RestorablePostgres, nats_server: NatsForTests, tmp_path: Path, window_seconds: int
) -> None:
    """Within JetStream's duplicate window it drops reused ids; after it, it stores them again beside the lost ones."""
    install_node_packages(TYPESCRIPT)
    conninfo = restorable.conninfo
    variables = {"NATS_URL": nats_server.url, "CALLSHEET_NATS_STREAM_DUPLICATE_SECONDS": str(window_seconds)}
    with apart(conninfo, tmp_path, "dev", **variables) as dev, gateway(dev, tmp_path) as client:
        workflow = await asyncio.to_thread(client.workflow, dict(TRANSFORM_CHAIN))
        async with subscribers(nats_server, tmp_path) as running:
            await start_runs(client, workflow, 5)
            restorable.back_up()
            await start_runs(client, workflow, 5)
            kept_run = (await start_runs(client, workflow, 1))[0]
            restorable.mark("before the mistake")
            point = read_state(conninfo)
            await start_runs(client, workflow, 10)  # the tail that the restore removes
            lost = read_state(conninfo)
            await wait_until_all_counted(running, conninfo)
            restorable.restore("before the mistake")
            over = wait_for_end_of_window(window_seconds)
            now = await wait_for_new_epoch(conninfo, lost.tag)
            await wait_until_served(client)
            await over
            await start_runs(client, workflow, 15)
            await wait_until_all_counted(running, conninfo)
            reports = [await stop_and_report(process) for _, process in running]
        for report in reports:
            await check_counts(conninfo, report, removed=lost.head - point.head)
        check_cursors(client, kept_run, old=point, lost=lost.head, new=now.tag)
        await check_stream(nats_server, now.tag, point.head, read_state(conninfo).head)
    assert_said(dev, "log.epoch_began")


async def wait_for_end_of_window(window_seconds: int) -> None:
    """Wait until JetStream has forgotten the ids of before; a window of the default length stays open."""
    begun_at = time.monotonic()

    async def is_over() -> bool:
        return window_seconds > LONG_SECONDS or time.monotonic() - begun_at > 2 * window_seconds

    await eventually(is_over, what="the duplicate window is over")


def check_cursors(client: Gateway, run: str, *, old: State, lost: int, new: str) -> None:
    """Check that cursors up to the restore point are valid, and that those of the lost tail are reset."""
    tag, point = old.tag, old.head
    events = f"/v1/runs/{run}/events"
    assert client.client.get(events, params={"after": f"{tag}-{point}"}).json()["items"] == []
    gone = client.client.get(events, params={"after": f"{tag}-{lost}"})
    assert (gone.status_code, gone.json()["code"]) == (410, "cursor_reset")
    assert gone.headers["callsheet-reset-position"] == f"{tag}-{point}"
    headers = {"accept": "text/event-stream", "last-event-id": f"{tag}-{lost}"}
    stream = client.client.get(events, headers=headers)
    assert (stream.status_code, stream.headers["callsheet-reset-position"]) == (200, f"{tag}-{point}")
    assert f"id: {tag}-{point}\nevent: reset" in stream.text
    late = client.client.get("/v1/projects", headers={"callsheet-min-position": f"{tag}-{lost}"})
    assert (late.status_code, late.json()["code"]) == (410, "cursor_reset")
    assert client.client.get("/v1/projects", headers={"callsheet-min-position": f"{new}-{point + 1}"}).is_success


async def check_stream(server: NatsForTests, tag: str, after: int, head: int) -> None:
    """Check that every fact after the restore point is in the stream under its new id, once."""
    async with open_client(server) as client:
        jetstream = client.jetstream()
        info = await jetstream.stream_info(STREAM)
        assert f"{tag}:{after}" in (info.config.metadata or {})["callsheet-epochs"]
        subscription = await jetstream.pull_subscribe("callsheet.v1.>", stream=STREAM)
        messages = await subscription.fetch(info.state.messages, timeout=10)
        ids = [(message.headers or {})["Nats-Msg-Id"] for message in messages]
        assert [id_ for id_ in ids if id_.startswith(tag)] == [f"{tag}-{n}" for n in range(after + 1, head + 1)]


def assert_said(started: Started, event: str) -> None:
    started.end()
    assert any(event in line for line in started.said), "".join(started.said[-20:])
