"""`bench http`: one gateway process with API keys, permissions, limits, traces and idempotency, at several loads."""

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

from bench.harness.figures import Bar, bar
from bench.harness.machine import Machine, machine
from bench.harness.options import HttpPlan, Options, http_plan
from bench.harness.progress import print_progress
from bench.harness.servers import postgres
from bench.http.load import SCOPE, HttpPhase, create_requests, measure_operation
from bench.http.middleware import measure_middleware
from bench.runs.server import Commands, Server, serve_workflow
from callsheet.wiring.core import COMPONENTS

GATEWAY_APART: Final[Commands] = (("serve",), ("project",))
BARS: Final[Mapping[str, float]] = {"create_project": 2_500.0, "get_run": 3_000.0, "list_50": 1_500.0}
"""Requests per second, at the best concurrency."""
MIDDLEWARE_US_MAX: Final = 60.0


class HttpResult(Struct, frozen=True, kw_only=True):
    """Rates and latencies of three operations, and the CPU of what every request passes."""

    bench: str
    quick: bool
    machine: Machine
    postgres: dict[str, str]
    plan: HttpPlan
    create_project: list[HttpPhase]
    get_run: list[HttpPhase]
    list_50: list[HttpPhase]
    middleware_us: float
    bars: list[Bar]


def run(options: Options) -> HttpResult:
    """Measure, and hold the figures to the bars. Raises EmbeddedUnusable, ServerFailed."""
    plan = http_plan(options)
    with postgres(options) as database, tempfile.TemporaryDirectory(prefix="callsheet-bench-") as directory:
        where = machine(database.directory)
        conninfo = database.fresh_database("http", ())
        print_progress("starting callsheet serve and project")
        with serve_workflow(conninfo, Path(directory), commands=GATEWAY_APART, scope=SCOPE) as server:
            phases = asyncio.run(_measure(server, plan))
        apart = database.fresh_database("middleware", COMPONENTS)
        middleware_us = asyncio.run(measure_middleware(apart, plan.middleware_requests))
        print_progress(f"  middleware {middleware_us} µs")
        settings = database.settings()
        database.drop_database("http")
        database.drop_database("middleware")
    result = HttpResult(
        bench="http",
        quick=options.quick,
        machine=where,
        postgres=settings,
        plan=plan,
        **phases,
        middleware_us=middleware_us,
        bars=[],
    )
    best = {name: max(phase.requests_per_second for phase in found) for name, found in phases.items()}
    result.bars.extend(bar(name, best[name], ">=", required) for name, required in BARS.items())
    result.bars.append(bar("middleware_us", middleware_us, "<=", MIDDLEWARE_US_MAX))
    return result


async def _measure(server: Server, plan: HttpPlan) -> dict[str, list[HttpPhase]]:
    requests = await asyncio.to_thread(create_requests, server)
    return {name: await measure_operation(server, name, request, plan) for name, request in requests.items()}
