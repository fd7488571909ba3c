"""The loads of `bench http`: three operations with an API key, each at several concurrencies."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from typing import Any, Final

import httpx2
import msgspec
from msgspec import Struct

from bench.harness.options import IN_FLIGHT_HTTP, HttpPlan
from bench.harness.progress import print_progress
from bench.harness.started import ServerFailed
from bench.runs.client import BEGAN, COUNTER, ENDED, ClientLoad, ClientReport
from bench.runs.server import HOST, Server

LISTED: Final = 50
SCOPE: Final = "keys:admin projects:read projects:write workflows:read workflows:write runs:read runs:write"


class HttpPhase(Struct, frozen=True, kw_only=True):
    """One load of one operation.

    `server_us` is the CPU time of the gateway per request, which a busy machine does not change much; None where it
    cannot be read. `client_cpu` is the share of one core that the client took.
    """

    in_flight: int
    requests_per_second: float
    p50_ms: float
    p99_ms: float
    server_us: float | None
    client_cpu: float
    failed: int
    failures: list[str]


class Request(Struct, frozen=True, kw_only=True):
    """A request to repeat, and the status of its answer."""

    text: str
    status: int


def create_requests(server: Server) -> dict[str, Request]:
    """Create what is read, and return the request of each measurement. Raises ServerFailed."""
    headers = {"Authorization": f"Bearer {server.token}"}
    with httpx2.Client(base_url=f"http://{HOST}:{server.port}", headers=headers, timeout=30) as client:
        workflow = _read(client.get(f"/v1/workflows/{server.workflow_id}"))
        runs = f"/v1/workflows/{server.workflow_id}:run"
        answers = [client.post(runs, json={"inputs": {"brief": "One page."}}) for _ in range(LISTED)]
        position = {"callsheet-min-position": answers[-1].headers["callsheet-position"]}
        run_id = _read(answers[0])["id"]
        listed = f"/v1/projects/{workflow['project_id']}/runs?limit={LISTED}"
        if len(_read(client.get(listed, headers=position))["items"]) != LISTED:
            raise ServerFailed(f"the list does not have the {LISTED} runs that were started")
        scopes = ["projects:read", "projects:write", "runs:read"]
        key = str(_read(client.post("/v1/api-keys", json={"name": "bench", "scopes": scopes}))["secret"])
    create = _write(
        "POST", "/v1/projects", server.port, key, f"Idempotency-Key: {COUNTER.decode()}", body='{"name":"bench"}'
    )
    return {
        "create_project": Request(text=create, status=201),
        "get_run": Request(text=_write("GET", f"/v1/runs/{run_id}", server.port, key), status=200),
        "list_50": Request(text=_write("GET", listed, server.port, key), status=200),
    }


def _read(response: httpx2.Response) -> dict[str, Any]:
    if not response.is_success:
        raise ServerFailed(f"{response.request.url} was answered with {response.status_code}: {response.text}")
    return response.json()


def _write(method: str, target: str, port: int, key: str, *fields: str, body: str = "") -> str:
    lines = [f"{method} {target} HTTP/1.1", f"Host: {HOST}:{port}", f"Authorization: Bearer {key}", *fields]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", body])


async def measure_operation(server: Server, name: str, request: Request, plan: HttpPlan) -> list[HttpPhase]:
    """Load one operation at every concurrency."""
    return [await _measure(server, name, request, in_flight, plan) for in_flight in IN_FLIGHT_HTTP]


async def _measure(server: Server, name: str, request: Request, in_flight: int, plan: HttpPlan) -> HttpPhase:
    load = ClientLoad(
        host=HOST, port=server.port, request=request.text, in_flight=in_flight,
        warm_up_seconds=plan.warm_up_seconds, seconds=plan.seconds,
        expected_status=request.status, expects_run=False,
    )  # fmt: skip
    clock = server.clocks[0]
    before = clock.seconds()
    client = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.runs.client", stdin=PIPE, stdout=PIPE)
    printed, _ = await client.communicate(msgspec.json.encode(load))
    began, ended, told = printed.decode().splitlines()
    if (began, ended) != (BEGAN, ENDED):
        raise ServerFailed(f"the client ended early: {printed.decode()}")
    after = clock.seconds()
    report = msgspec.json.decode(told, type=ClientReport)
    taken = None if before is None or after is None else after - before
    phase = HttpPhase(
        in_flight=in_flight,
        requests_per_second=report.figures.per_second,
        p50_ms=report.figures.p50_ms,
        p99_ms=report.figures.p99_ms,
        server_us=None if taken is None else round(taken / max(1, report.completed) * 1_000_000, 1),
        client_cpu=report.client_cpu,
        failed=report.failed,
        failures=report.failures,
    )
    print_progress(
        f"  {name:<15} {in_flight:>4} in flight  {phase.requests_per_second:>7,.0f}/s  p50 {phase.p50_ms:>7.2f} ms"
        f"  p99 {phase.p99_ms:>7.2f} ms  server {phase.server_us} µs  cpu client {phase.client_cpu}"
        f"  failed {phase.failed}"
    )
    return phase
