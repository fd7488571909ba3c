"""`bench fanout`: a map over 1,000 items of a workflow of one step that does nothing; items per second."""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import httpx2
from msgspec import Struct

from bench.harness.figures import Bar, bar
from bench.harness.machine import Machine, machine
from bench.harness.options import Options
from bench.harness.progress import print_progress
from bench.harness.servers import postgres
from bench.harness.started import ServerFailed
from bench.runs.server import HOST, Server, chain, serve_workflow

ITEMS: Final = 1_000
CONCURRENCY: Final = 100
RUNS: Final = 7
RUNS_QUICK: Final = 3
WAIT_SECONDS: Final = 60
ITEMS_PER_SECOND: Final = 2_000


class FanoutResult(Struct, frozen=True, kw_only=True):
    """Result of a map with many small children: the median over the runs, each timed by the caller who waits."""

    bench: str
    quick: bool
    machine: Machine
    items: int
    concurrency: int
    runs: int
    items_per_second: float
    bars: list[Bar]


def run(options: Options) -> FanoutResult:
    """Measure, and hold the figure to its bar. Raises EmbeddedUnusable, ServerFailed."""
    runs = RUNS_QUICK if options.quick else RUNS
    with postgres(options) as database, tempfile.TemporaryDirectory(prefix="callsheet-bench-") as directory:
        where = machine(database.directory)
        conninfo = database.fresh_database("fanout", ())
        print_progress("starting the server")
        with (
            serve_workflow(conninfo, Path(directory), chain(["only"])) as server,
            httpx2.Client(
                base_url=f"http://{HOST}:{server.port}",
                headers={"authorization": f"Bearer {server.token}", "prefer": f"wait={WAIT_SECONDS}"},
                timeout=WAIT_SECONDS + 5,
            ) as client,
        ):
            parent = _parent(client, server)
            rates = [_rate(client, parent) for _ in range(runs + 1)][1:]  # the first warms up
        database.drop_database("fanout")
    rate = round(statistics.median(rates), 1)
    return FanoutResult(
        bench="fanout",
        quick=options.quick,
        machine=where,
        items=ITEMS,
        concurrency=CONCURRENCY,
        runs=runs,
        items_per_second=rate,
        bars=[bar("items_per_second", rate, ">=", ITEMS_PER_SECOND)],
    )


def _parent(client: httpx2.Client, server: Server) -> str:
    """Create a workflow that maps over the server's workflow; return its id."""
    child = _answer(client.get(f"/v1/workflows/{server.workflow_id}"))
    config = {"workflow_id": server.workflow_id, "items": "inputs.items", "concurrency": CONCURRENCY}
    graph = {"nodes": [{"id": "each", "kind": "map", "config": config}], "edges": []}
    body = {"name": "a map", **graph}
    return str(_answer(client.post(f"/v1/projects/{child['project_id']}/workflows", json=body))["id"])


def _rate(client: httpx2.Client, workflow_id: str) -> float:
    body = {"inputs": {"items": list(range(ITEMS))}}
    begun = time.perf_counter()
    answer = _answer(client.post(f"/v1/workflows/{workflow_id}:run", json=body))
    elapsed = time.perf_counter() - begun
    if answer["status"] != "completed":
        raise ServerFailed(f"the run did not complete within {WAIT_SECONDS} seconds: it is {answer['status']}")
    print_progress(f"  {ITEMS / elapsed:,.0f} items/s")
    return ITEMS / elapsed


def _answer(response: httpx2.Response) -> dict[str, Any]:
    if not response.is_success:
        raise ServerFailed(f"{response.request.url} was answered with {response.status_code}: {response.text[:2_000]}")
    return response.json()
