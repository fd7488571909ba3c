"""`bench runs`: workflows of three steps over HTTP, from the request to the answer with the ended run."""

import asyncio
import tempfile
from pathlib import Path
from typing import Final

from bench.harness.machine import machine
from bench.harness.options import IN_FLIGHT_RUNS, Options, RunsPlan, runs_plan
from bench.harness.progress import print_progress
from bench.harness.servers import postgres
from bench.runs.load import Bench, Phase, measure_load
from bench.runs.result import Measured, RunsResult, is_sustained, runs_result
from bench.runs.server import (
    APART,
    PROJECTIONS_APART,
    STEPS,
    TOGETHER,
    Commands,
    chain,
    chain_of_attempts,
    serve_workflow,
)
from bench.runs.verified import verification

WARM_UP_IN_FLIGHT: Final = 16


def run(options: Options) -> RunsResult:
    """Measure, and hold the figures to the bars. Raises EmbeddedUnusable, ServerFailed."""
    plan = runs_plan(options)
    graph = chain_of_attempts(STEPS) if options.attempts else chain(STEPS)
    with postgres(options) as database, tempfile.TemporaryDirectory(prefix="callsheet-bench-") as directory:
        where = machine(database.directory)
        conninfo = database.fresh_database("runs", ())
        commands = _choose_commands(options)
        print_progress(f"starting {', '.join('callsheet ' + ' '.join(command) for command in commands)}")
        with serve_workflow(conninfo, Path(directory), graph, commands) as server:
            bench = Bench(server=server, conninfo=conninfo, postgres_clock=database.clock)
            measured = asyncio.run(_measure(bench, plan))
        settings = database.settings()
        database.drop_database("runs")
    return runs_result(options, plan, where, settings, measured)


def _choose_commands(options: Options) -> Commands:
    if options.apart:
        return APART
    return PROJECTIONS_APART if options.projections_apart else TOGETHER


async def _measure(bench: Bench, plan: RunsPlan) -> Measured:
    """Load the server at every concurrency for a short time, then at the best for long, and count what came of it."""
    warm_up = await measure_load(bench, WARM_UP_IN_FLIGHT, plan.warm_up_seconds, 0.0)
    short = [await measure_load(bench, n, plan.seconds, plan.warm_up_seconds) for n in IN_FLIGHT_RUNS]
    sustained: list[Phase] = []
    for candidate in sorted(short, key=_rate, reverse=True)[: plan.sustained_tries]:
        print_progress(f"  sustained for {plan.sustained_seconds:.0f} s:")
        sustained.append(await measure_load(bench, candidate.in_flight, plan.sustained_seconds, plan.warm_up_seconds))
        if is_sustained(sustained[-1]):
            break
    everything = [warm_up, *short, *sustained]
    print_progress("counting the runs in the log and in the read model")
    found = await verification(
        bench.conninfo,
        completed=sum(phase.completed for phase in everything),
        failed=sum(phase.failed for phase in everything),
    )
    return Measured(short=short, sustained=sustained, verification=found)


def _rate(phase: Phase) -> float:
    return phase.runs_per_second
