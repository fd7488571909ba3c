"""`bench streams`: how fast events reach 1,000 clients, what these cost, and how fast the past is replayed."""

import asyncio
import resource
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from msgspec import Struct

from bench.harness.figures import Bar, bar, percentile
from bench.harness.machine import Machine, machine
from bench.harness.options import Options
from bench.harness.progress import print_progress
from bench.harness.servers import postgres
from bench.harness.started import ServerFailed
from bench.runs.server import HOST, Server, serve_workflow
from bench.streams.clients import Kind, StreamClient, close_clients, create_client, open_clients
from bench.streams.load import (
    Target,
    begin_project,
    begin_target,
    fill_project,
    open_client,
    signal_steadily,
)

CLIENTS: Final = 1_000
STALLED: Final = 100
RESUMING: Final = 200
EVENTS_BACK: Final = 1_000
REPLAYED: Final = 10_000
EVENTS_PER_SECOND: Final = 20
COMMANDS_PER_SECOND: Final = 50
MEASURING: Final = 100
"""Clients that measure when each event arrives; the others only count, which takes less of the client's time."""
STALLED_BUFFER: Final = 4_096
LIMIT: Final = 60

DELIVERY_P99_MS: Final = 250.0
BYTES_PER_CLIENT: Final = 60_000
STALLED_RATIO: Final = 1.2
RESUME_SECONDS: Final = 10.0
COMMAND_RATIO: Final = 2.0
REPLAY_PER_SECOND: Final = 15_000


class Delivery(Struct, frozen=True, kw_only=True):
    """Delivery of a steady load to many clients of one kind."""

    kind: Kind
    clients: int
    stalled: int
    events_per_second: float
    p50_ms: float
    p99_ms: float
    bytes_per_client: int
    missing: int
    """Events that a client did not get."""


class StreamsResult(Struct, frozen=True, kw_only=True):
    """Result of `bench streams`; each figure is the worse of server-sent events and WebSockets."""

    bench: str
    quick: bool
    machine: Machine
    delivery_p99_ms: float
    bytes_per_client: int
    stalled_ratio: float
    resume_seconds: float
    command_ratio: float
    replay_events_per_second: float
    deliveries: list[Delivery]
    bars: list[Bar]


class Plan(Struct, frozen=True, kw_only=True):
    """Sizes of the measurement."""

    clients: int = CLIENTS
    stalled: int = STALLED
    resuming: int = RESUMING
    seconds: float = 20.0
    replayed: int = REPLAYED


def run(options: Options) -> StreamsResult:
    """Measure, and hold the figures to their bars. Raises EmbeddedUnusable, ServerFailed."""
    plan = Plan(clients=100, stalled=10, resuming=20, seconds=3.0, replayed=2_000) if options.quick else Plan()
    if options.seconds is not None:
        plan = Plan(seconds=options.seconds)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16_384), hard))
    with postgres(options) as database, tempfile.TemporaryDirectory(prefix="callsheet-bench-") as path:
        where = machine(database.directory)
        conninfo = database.fresh_database("streams", ())
        print_progress("starting the server")
        with serve_workflow(conninfo, Path(path)) as server:
            deliveries = asyncio.run(deliver_all(server, plan))
            resume_seconds, command_ratio = asyncio.run(resume(server, plan))
            project_id, events = asyncio.run(fill(server, plan))
        # Cold: another process, which has nothing of the project in memory.
        with serve_workflow(conninfo, Path(path), before=server) as fresh:
            replayed = asyncio.run(replay(fresh, project_id, events))
        database.drop_database("streams")
    return summarise(options, where, deliveries, resume_seconds, command_ratio, replayed)


def summarise(
    options: Options,
    where: Machine,
    deliveries: list[Delivery],
    resume_seconds: float,
    command_ratio: float,
    replayed: float,
) -> StreamsResult:
    """Return the result."""
    alone = [found for found in deliveries if not found.stalled]
    p99_ms = max(found.p99_ms for found in alone)
    bytes_per_client = max(found.bytes_per_client for found in alone)
    ratios = [
        beside.p99_ms / found.p99_ms
        for found in alone
        for beside in deliveries
        if beside.stalled and beside.kind == found.kind
    ]
    stalled_ratio = round(max(ratios), 2)
    return StreamsResult(
        bench="streams",
        quick=options.quick,
        machine=where,
        delivery_p99_ms=p99_ms,
        bytes_per_client=bytes_per_client,
        stalled_ratio=stalled_ratio,
        resume_seconds=resume_seconds,
        command_ratio=command_ratio,
        replay_events_per_second=replayed,
        deliveries=deliveries,
        bars=[
            bar("delivery_p99_ms", p99_ms, "<=", DELIVERY_P99_MS),
            bar("bytes_per_client", bytes_per_client, "<=", BYTES_PER_CLIENT),
            bar("stalled_ratio", stalled_ratio, "<=", STALLED_RATIO),
            bar("resume_seconds", resume_seconds, "<=", RESUME_SECONDS),
            bar("command_ratio", command_ratio, "<=", COMMAND_RATIO),
            bar("replay_events_per_second", replayed, ">=", REPLAY_PER_SECOND),
        ],
    )


async def deliver_all(server: Server, plan: Plan) -> list[Delivery]:
    """Measure each kind of client, alone and beside stalled ones."""
    kinds: tuple[Kind, ...] = ("sse", "ws")
    return [await deliver(server, plan, kind, stalled) for kind in kinds for stalled in (0, plan.stalled)]


async def deliver(server: Server, plan: Plan, kind: Kind, stalled: int) -> Delivery:
    """Measure the delivery of events to many clients of one kind."""
    print_progress(f"{plan.clients} clients ({kind}), {stalled} more stalled")
    async with open_client(server) as api:
        target = await begin_target(api)
        before = read_memory(server)
        clients = [follow(server, target, kind, is_measuring=number < MEASURING) for number in range(plan.clients)]
        await open_clients(HOST, server.port, clients, receive_bytes=None)
        beside = [follow(server, target, kind, is_stalled=True) for _ in range(stalled)]
        await open_clients(HOST, server.port, beside, receive_bytes=STALLED_BUFFER)
        await asyncio.sleep(1)  # subscriptions begin; nothing is measured before
        taken = read_memory(server) - before
        begun_with = [client.events for client in clients]
        for client in clients:
            client.latencies.clear()
        began = time.perf_counter()
        sent = len(await signal_steadily(api, target.run_id, per_second=EVENTS_PER_SECOND, seconds=plan.seconds))
        elapsed = time.perf_counter() - began
        await wait_for_events(clients, begun_with, sent)
        latencies = sorted(latency for client in clients for latency in client.latencies)
        missing = sum(first + sent - client.events for client, first in zip(clients, begun_with, strict=True))
        close_clients([*clients, *beside])
    found = Delivery(
        kind=kind,
        clients=plan.clients,
        stalled=stalled,
        events_per_second=round(sent / elapsed, 1),
        p50_ms=round(percentile(latencies, 50) * 1_000, 1),
        p99_ms=round(percentile(latencies, 99) * 1_000, 1),
        bytes_per_client=taken // (plan.clients + stalled),
        missing=missing,
    )
    print_progress(f"  p99 {found.p99_ms} ms, {found.bytes_per_client:,} bytes a client, {missing} missing")
    return found


def follow(
    server: Server, target: Target, kind: Kind, *, is_measuring: bool = False, is_stalled: bool = False
) -> StreamClient:
    """Create a client: of the events of the run (`sse`), or of the project (`ws`)."""
    return create_client(
        kind,
        f"{HOST}:{server.port}",
        server.token,
        f"/v1/runs/{target.run_id}/events",
        {"project_id": target.project_id},
        is_measuring=is_measuring,
        is_stalled=is_stalled,
    )


async def wait_for_events(clients: Sequence[StreamClient], before: Sequence[int], sent: int) -> None:
    """Wait until every client has what was sent, for a limited time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(LIMIT):
            for client, first in zip(clients, before, strict=True):
                await client.wait_for(first + sent)


def read_memory(server: Server) -> int:
    """Return the resident memory of the server in bytes (Linux)."""
    pages = Path(f"/proc/{server.clocks[0].pid}/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


async def resume(server: Server, plan: Plan) -> tuple[float, float]:
    """Return how long many clients take that resume at once from 1,000 events back, and what commands do meanwhile."""
    print_progress(f"{plan.resuming} clients resume from {EVENTS_BACK} events back")
    async with open_client(server) as api:
        project_id, workflow_id = await begin_project(api)
        events = await fill_project(api, workflow_id, EVENTS_BACK)
        first, second = await begin_target(api), await begin_target(api)
        usual = sorted(await signal_steadily(api, first.run_id, per_second=COMMANDS_PER_SECOND, seconds=8))
        commands = asyncio.create_task(signal_steadily(api, second.run_id, per_second=COMMANDS_PER_SECOND, seconds=8))
        clients = [resume_client(server, project_id, number) for number in range(plan.resuming)]
        began = time.perf_counter()
        await open_clients(HOST, server.port, clients, receive_bytes=None)
        await wait_for_events(clients, [0] * len(clients), events)
        seconds = round(time.perf_counter() - began, 2)
        meanwhile = sorted(await commands)
        close_clients(clients)
    if any(client.events < events for client in clients):
        raise ServerFailed("clients that resumed did not get every event")
    ratio = round(percentile(meanwhile, 99) / percentile(usual, 99), 2)
    print_progress(f"  {seconds} s; commands' p99 is {ratio} times the usual")
    return seconds, ratio


def resume_client(server: Server, project_id: str, number: int) -> StreamClient:
    """Create a client that resumes: half over server-sent events, half over WebSockets."""
    return create_client(
        "sse" if number % 2 else "ws",
        f"{HOST}:{server.port}",
        server.token,
        f"/v1/projects/{project_id}/events?after=0",
        {"project_id": project_id, "after": "0"},
        is_measuring=False,
        is_stalled=False,
    )


async def fill(server: Server, plan: Plan) -> tuple[str, int]:
    """Fill a project with as many events as are replayed; return its id, and how many they are."""
    print_progress(f"writing {plan.replayed:,} events")
    async with open_client(server) as api:
        project_id, workflow_id = await begin_project(api)
        return project_id, await fill_project(api, workflow_id, plan.replayed)


async def replay(server: Server, project_id: str, events: int) -> float:
    """Return how many events per second one client gets of a project's past."""
    client = create_client(
        "sse",
        f"{HOST}:{server.port}",
        server.token,
        f"/v1/projects/{project_id}/events?after=0",
        {},
        is_measuring=False,
        is_stalled=False,
    )
    began = time.perf_counter()
    await open_clients(HOST, server.port, [client], receive_bytes=None)
    await wait_for_events([client], [0], events)
    rate = round(min(events, client.events) / (time.perf_counter() - began), 1)
    close_clients([client])
    print_progress(f"  {rate:,.0f} events/s")
    return rate
