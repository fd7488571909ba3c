"""`bench long-run`: a run of 500 steps in a chain; whether a step costs more at its end than at its start."""

import statistics
import tempfile
from pathlib import Path
from typing import Any, Final

import httpx2
import psycopg
from msgspec import Struct

from bench.harness.figures import Bar, bar
from bench.harness.machine import Machine, machine
from bench.harness.options import Options
from bench.harness.progress import print_progress
from bench.harness.servers import postgres
from bench.harness.started import ServerFailed
from bench.runs.server import HOST, chain, serve_workflow

STEPS: Final = 500
STRETCH: Final = 100
"""So many steps at either end are compared: one alone is noise."""

RUNS: Final = 9
RUNS_QUICK: Final = 3
WAIT_SECONDS: Final = 60
END_AGAINST_START: Final = 1.5

COMPLETED: Final = """
select extract(epoch from recorded_at)::float8 * 1000
  from events
 where topic = 'step.completed'
   and originator_id = (select originator_id from events where topic = 'run.started'
                         order by notification_id desc limit 1)
 order by originator_version
"""
"""Read when each step of the newest run was completed, in milliseconds."""


class LongRunResult(Struct, frozen=True, kw_only=True):
    """Duration of a step at the start and at the end of a long run: medians over the runs, in milliseconds."""

    bench: str
    quick: bool
    machine: Machine
    steps: int
    runs: int
    first_steps_ms: float
    last_steps_ms: float
    end_against_start: float
    bars: list[Bar]


def run(options: Options) -> LongRunResult:
    """Measure, and hold the figure to its bar. Raises EmbeddedUnusable, ServerFailed."""
    runs = RUNS_QUICK if options.quick else RUNS
    graph = chain([f"s{number}" for number in range(STEPS)])
    with postgres(options) as database, tempfile.TemporaryDirectory(prefix="callsheet-bench-") as directory:
        where = machine(database.directory)
        conninfo = database.fresh_database("long_run", ())
        print_progress("starting the server")
        with (
            serve_workflow(conninfo, Path(directory), graph) as server,
            psycopg.connect(conninfo, autocommit=True) as log,
        ):
            url = f"http://{HOST}:{server.port}/v1/workflows/{server.workflow_id}:run"
            headers = {"authorization": f"Bearer {server.token}", "prefer": f"wait={WAIT_SECONDS}"}
            ends = [_ends(log, url, headers) for _ in range(runs + 1)][1:]  # the first warms up
        database.drop_database("long_run")
    return _result(options, where, ends)


def _result(options: Options, where: Machine, ends: list[tuple[float, float]]) -> LongRunResult:
    ratio = round(statistics.median(end / start for start, end in ends), 3)
    return LongRunResult(
        bench="long-run",
        quick=options.quick,
        machine=where,
        steps=STEPS,
        runs=len(ends),
        first_steps_ms=round(statistics.median(start for start, _ in ends), 3),
        last_steps_ms=round(statistics.median(end for _, end in ends), 3),
        end_against_start=ratio,
        bars=[bar("end_against_start", ratio, "<=", END_AGAINST_START)],
    )


def _ends(log: psycopg.Connection[Any], url: str, headers: dict[str, str]) -> tuple[float, float]:
    """Run the workflow once; return the time per step over the first and over the last steps."""
    answer = httpx2.post(url, json={"inputs": {}}, headers=headers, timeout=WAIT_SECONDS + 5)
    if not answer.is_success or answer.json()["status"] != "completed":
        raise ServerFailed(f"the run did not complete: {answer.status_code} {answer.text[:2_000]}")
    at = [row[0] for row in log.execute(COMPLETED).fetchall()]
    if len(at) != STEPS:
        raise ServerFailed(f"{len(at)} steps of {STEPS} were recorded")
    start, end = (at[STRETCH] - at[0]) / STRETCH, (at[-1] - at[-1 - STRETCH]) / STRETCH
    print_progress(f"  a step takes {start:.3f} ms at the start, {end:.3f} ms at the end")
    return start, end
