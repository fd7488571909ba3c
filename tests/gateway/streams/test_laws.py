"""The law of streams: what a client received, joined by position, equals the log, whatever is cut, killed or slow."""

import asyncio
import random
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
from msgspec import Struct

from gateway.streams.channels.runs import RUN_TOPICS
from tests.support.callsheet.separate_processes import Gateway, Started, apart, gateway
from tests.support.gateway.given import TRANSFORM_CHAIN
from tests.support.gateway.stream_clients import (
    SILENCE_SECONDS_MAX,
    Received,
    Site,
    follow_by_node,
    follow_events,
    follow_socket,
)
from tests.support.servers.nats import NatsForTests

CLIENTS: Final[tuple[Callable[[Site, random.Random], Awaitable[Received]], ...]] = (follow_events, follow_socket)
LAW_SECONDS_MAX: Final = 300
"""Some seconds on a quiet machine; the limit is for streams that hang."""


class Killable:
    """A gateway in a process of its own, that is killed and started again on the same port."""

    def __init__(self, database: str, directory: Path, nats: NatsForTests) -> None:
        """Choose a free port."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = int(free.getsockname()[1])
        self.url = f"http://127.0.0.1:{self._port}"
        self._arguments = database, directory, nats.url
        self._stack = ExitStack()
        self._started: Started | None = None

    def start(self) -> None:
        database, directory, nats = self._arguments
        process = apart(database, directory, "serve", "--port", str(self._port), NATS_URL=nats)
        self._started = self._stack.enter_context(process)

    def kill(self) -> None:
        """Kill the process (SIGKILL)."""
        self._stack.close()


class Cluster(Struct, frozen=True, eq=False):
    """A gateway with an engine that stays, two that are killed, and NATS."""

    staying: Gateway
    url: str
    killable: tuple[Killable, Killable]
    nats: NatsForTests


@asynccontextmanager
async def open_cluster(database: str, directory: Path, nats: NatsForTests) -> AsyncGenerator[Cluster]:
    killable = Killable(database, directory, nats), Killable(database, directory, nats)
    async with AsyncExitStack() as stack:
        serve = apart(database, directory, "serve", "--engine", "--port", "0", NATS_URL=nats.url)
        stack.callback(lambda: [each.kill() for each in killable])
        async with asyncio.TaskGroup() as group:
            starting = group.create_task(asyncio.to_thread(stack.enter_context, serve))
            for each in killable:
                group.create_task(asyncio.to_thread(each.start))
        started = starting.result()
        assert started.url is not None
        yield Cluster(stack.enter_context(gateway(started, directory)), started.url, killable, nats)


async def write_runs(cluster: Cluster, workflow_id: str, runs: int) -> None:
    for number in range(runs):
        await asyncio.to_thread(
            cluster.staying.post, f"/v1/workflows/{workflow_id}:run", {"inputs": {"n": number}}, prefer="wait=30"
        )


async def disturb(cluster: Cluster, writing: asyncio.Task[None]) -> int:
    """Kill gateways and NATS, one after the other, and start each again, at least once and until all is written."""
    disturbances = 0
    while not writing.done() or disturbances < 3:
        match disturbances % 3:
            case 1:
                cluster.nats.kill()
                await asyncio.to_thread(cluster.nats.start)
            case number:
                victim = cluster.killable[number // 2]
                victim.kill()
                await asyncio.to_thread(victim.start)
        disturbances += 1
    return disturbances


async def read_log(cluster: Cluster, project_id: str) -> Received:
    """Return the id and the topic of every event of a project."""
    found: Received = []
    after = "0"
    while True:
        path = f"/v1/projects/{project_id}/events?limit=200&after={after}"
        page: dict[str, Any] = (await asyncio.to_thread(cluster.staying.client.get, path)).raise_for_status().json()
        found += [(item["id"], item["type"]) for item in page["items"]]
        if page["next_cursor"] is None:
            return found
        after = found[-1][0]


async def check_law(cluster: Cluster, *, patterns: int, node_patterns: int, runs: int, seed: int) -> None:
    """Follow a project by many clients, each with a pattern of its own, while it is written and all is disturbed."""
    workflow_id = await asyncio.to_thread(cluster.staying.workflow, dict(TRANSFORM_CHAIN))
    workflow = (await asyncio.to_thread(cluster.staying.client.get, f"/v1/workflows/{workflow_id}")).json()
    token = cluster.staying.client.headers["authorization"].removeprefix("Bearer ")
    last: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    urls = [cluster.url, *(each.url for each in cluster.killable)]
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
    async with (
        httpx2.AsyncClient(timeout=SILENCE_SECONDS_MAX, limits=limits) as client,
        asyncio.timeout(LAW_SECONDS_MAX),
        asyncio.TaskGroup() as group,
    ):
        site = Site(client, urls, token, workflow["project_id"], last)
        clients = [
            group.create_task(CLIENTS[number % 2](site, random.Random(seed + number)))  # noqa: S311  # repeatable
            for number in range(patterns)
        ]
        seeds = range(seed, seed + node_patterns // 2)
        sockets = group.create_task(follow_by_node(site, "ws", list(seeds)))
        sources = group.create_task(follow_by_node(site, "eventsource", list(seeds)))
        writing = group.create_task(write_runs(cluster, workflow_id, runs))
        disturbances = await disturb(cluster, writing)
        assert disturbances >= 3
        log = await read_log(cluster, site.project_id)
        last.set_result(log[-1][0])
    of_runs = [event for event in log if event[1] in RUN_TOPICS]
    assert len(of_runs) >= runs
    for number, client in enumerate(clients):
        expected = of_runs if CLIENTS[number % 2] is follow_socket else log
        assert client.result() == expected, f"{CLIENTS[number % 2].__name__}, seed {seed + number}"
    assert all(received == of_runs for received in sockets.result()), "ws"
    assert all(received == log for received in sources.result()), "eventsource"


async def test_what_clients_receive_equals_the_log(database: str, tmp_path: Path, nats_server: NatsForTests) -> None:
    async with open_cluster(database, tmp_path, nats_server) as cluster:
        await check_law(cluster, patterns=44, node_patterns=8, runs=12, seed=1)


@pytest.mark.long
async def test_what_clients_receive_equals_the_log_for_a_thousand_patterns(
    database: str, tmp_path: Path, nats_server: NatsForTests
) -> None:
    async with open_cluster(database, tmp_path, nats_server) as cluster:
        for round_number in range(20):
            await check_law(cluster, patterns=44, node_patterns=8, runs=60, seed=1_000 * (1 + round_number))
