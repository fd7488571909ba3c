"""The load of `bench streams`: a run that gets signals at a steady rate, and a project with many events."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx2
from msgspec import Struct

from bench.harness.started import ServerFailed
from bench.runs.server import HOST, STEPS, Server, chain

TICKS: Final = 450
"""Steps that wait for a signal each: a run can be sent as many signals, one fact each, while nothing else happens."""
WAITING: Final[dict[str, Any]] = {
    "nodes": [
        {"id": "go", "kind": "wait", "config": {"signal": "go"}},
        *({"id": f"t{number}", "kind": "wait", "config": {"signal": f"tick{number}"}} for number in range(TICKS)),
    ],
    "edges": [{"from": "go", "to": f"t{number}"} for number in range(TICKS)],
}
AT_ONCE: Final = 32


class Target(Struct, frozen=True, kw_only=True):
    """Target of the clients: a project, and a run in it that waits."""

    project_id: str
    run_id: str


async def send(client: httpx2.AsyncClient, path: str, body: dict[str, Any], **headers: str) -> dict[str, Any]:
    """Send a command. Raises ServerFailed if it is refused."""
    answer = await client.post(path, json=body, headers=headers)
    if not answer.is_success:
        raise ServerFailed(f"{path} was answered with {answer.status_code}: {answer.text[:1_000]}")
    found: dict[str, Any] = answer.json()
    return found


@asynccontextmanager
async def open_client(server: Server) -> AsyncGenerator[httpx2.AsyncClient]:
    """Open a client of a server's API."""
    headers = {"authorization": f"Bearer {server.token}"}
    async with httpx2.AsyncClient(base_url=f"http://{HOST}:{server.port}", headers=headers, timeout=60) as client:
        yield client


async def begin_target(client: httpx2.AsyncClient) -> Target:
    """Create a project with a run that waits for a signal."""
    project = await send(client, "/v1/projects", {"name": "followed"})
    path = f"/v1/projects/{project['id']}/workflows"
    workflow = await send(client, path, {"name": "waits", **WAITING})
    run = await send(client, f"/v1/workflows/{workflow['id']}:run", {"inputs": {}})
    return Target(project_id=str(project["id"]), run_id=str(run["id"]))


async def signal_steadily(client: httpx2.AsyncClient, run_id: str, *, per_second: float, seconds: float) -> list[float]:
    """Send a run signals that it does not wait for, one fact each; return how long each command took.

    One after the other: commands on one run at the same time conflict. So a slow server gets fewer a second.
    """
    latencies: list[float] = []
    begun = time.perf_counter()
    for number in range(int(per_second * seconds)):
        await asyncio.sleep(max(0.0, begun + number / per_second - time.perf_counter()))
        sent_at = time.perf_counter()
        await send(client, f"/v1/runs/{run_id}:signal", {"name": f"tick{number}"})
        latencies.append(time.perf_counter() - sent_at)
    return latencies


async def begin_project(client: httpx2.AsyncClient) -> tuple[str, str]:
    """Create a project with a workflow of three steps that do nothing; return the ids of both."""
    project = await send(client, "/v1/projects", {"name": "filled"})
    path = f"/v1/projects/{project['id']}/workflows"
    workflow = await send(client, path, {"name": "a chain of steps", **chain(STEPS)})
    return str(project["id"]), str(workflow["id"])


async def fill_project(client: httpx2.AsyncClient, workflow_id: str, events: int) -> int:
    """Run a workflow until its runs have as many events; return how many they have."""
    run = await send(client, f"/v1/workflows/{workflow_id}:run", {"inputs": {}}, prefer="wait=30")
    of_run = len((await client.get(f"/v1/runs/{run['id']}/events")).json()["items"])
    left = iter(range(events // of_run))

    async def run_some() -> None:
        for _ in left:
            await send(client, f"/v1/workflows/{workflow_id}:run", {"inputs": {}}, prefer="wait=30")

    await asyncio.gather(*(run_some() for _ in range(AT_ONCE)))
    return of_run * (1 + events // of_run)
