"""Connections that have ended leave nothing behind: no task, no socket, no registration, no memory."""

import asyncio
import gc
import random
import resource
from pathlib import Path

import pytest
from msgspec import Struct

from tests.support.gateway.event_streams import open_stream
from tests.support.gateway.given import HUMAN, Caller, Environment
from tests.support.gateway.sockets import open_socket
from tests.support.waiting import eventually

AT_ONCE = 20
BYTES_PER_CONNECTION_MAX = 1_000


class Held(Struct, frozen=True, kw_only=True):
    """The registrations of connections in a server, and the tasks and files of its process."""

    tasks: int
    files: int
    sockets: int
    open_requests: int
    watches: int
    presences: int
    followed_runs: int
    connections: int


def count_held(environment: Environment) -> Held:
    core, gateway = environment.core, environment.gateway
    return Held(
        tasks=len(asyncio.all_tasks()),
        files=len(list(Path("/proc/self/fd").iterdir())),
        sockets=len(gateway.socket_counts),
        open_requests=len(gateway.open_requests),
        watches=environment.drain.watching,
        presences=len(core.bus.presence),
        followed_runs=len(core.bus.deltas.followed_runs),
        connections=len(environment.server.server_state.connections),
    )


def read_memory() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def connect_once(ada: Caller, project_id: str, run_id: str, chances: random.Random) -> None:
    """Open a socket with every channel, or an event stream, and end it in one of several ways."""
    if chances.random() < 0.3:
        async with open_stream(ada, f"/v1/runs/{run_id}/events") as events:
            await events.first("run.started")
        return
    async with open_socket(ada) as socket:
        await socket.send("runs", "subscribe", "r", run_id=run_id, after="0", deltas=True)
        await socket.send("tasks", "subscribe", "t", after="0")
        await socket.send("announcements", "subscribe", "a")
        await socket.send("presence", "subscribe", "p", project_id=project_id)
        await socket.receive_until("presence.roster")
        match chances.randrange(4):
            case 0:
                socket.connection.transport.abort()
            case 1:
                await socket.connection.send(b"binary")
            case 2:
                await socket.send("runs", "unsubscribe", "r")
            case _:
                pass


async def check_no_leak(ada: Caller, environment: Environment, connections: int) -> int:
    """Connect and disconnect so many times; return by how much the memory has grown."""
    workflow = await ada.workflow(HUMAN)
    run = (await ada.post(f"/v1/workflows/{workflow['id']}:run", {"inputs": {}})).json()

    async def connect_many(seeds: range) -> None:
        async def connect_some(first: int) -> None:
            for seed in seeds[first::AT_ONCE]:
                await connect_once(ada, workflow["project_id"], run["id"], random.Random(seed))  # noqa: S311  # repeatable

        await asyncio.gather(*(connect_some(first) for first in range(AT_ONCE)))

    await connect_many(range(2 * AT_ONCE))  # caches and pools fill
    before: list[Held] = []

    async def is_still() -> bool:
        before.append(count_held(environment))
        return before[-1].sockets == 0 and before[-1].watches == 0 and before[-1].presences == 0

    await eventually(is_still, what="the first connections have ended")
    memory = read_memory()
    await connect_many(range(connections))
    held: list[Held] = []

    async def is_back() -> bool:
        held.append(count_held(environment))
        return all(getattr(held[-1], name) <= getattr(before[-1], name) for name in Held.__struct_fields__)

    await eventually(is_back, what=f"what ended connections held is given back: {before[-1]}", seconds=20)
    return read_memory() - memory


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="counts are read from /proc")
async def test_ended_connections_leave_nothing_behind(ada: Caller, environment: Environment) -> None:
    await check_no_leak(ada, environment, 200)


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="counts are read from /proc")
async def test_ten_thousand_ended_connections_leave_no_memory_behind(ada: Caller, environment: Environment) -> None:
    await check_no_leak(ada, environment, 1_000)
    grown = await check_no_leak(ada, environment, 10_000)
    assert grown <= 10_000 * BYTES_PER_CONNECTION_MAX, f"{grown:,} bytes"
