"""`bench timers`: what an engine that has nothing to do costs, without pending timers and with very many."""

import asyncio
import secrets
import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

from msgspec import Struct

from bench.harness.figures import Bar, bar
from bench.harness.machine import Machine, machine
from bench.harness.options import Options
from bench.harness.processes import CpuClock
from bench.harness.progress import print_progress
from bench.harness.servers import Postgres, postgres
from bench.harness.started import ServerFailed, start_process
from bench.runs.server import build_environment
from bench.timers.log import wait_for_read_models, wait_in_many
from callsheet.wiring.core import COMPONENTS

TIMERS: Final = 100_000
TIMERS_QUICK: Final = 10_000
IDLE_SECONDS: Final = 10.0
IDLE_SECONDS_QUICK: Final = 3.0
SETTLING_SECONDS: Final = 3.0
"""An engine that has just begun looks at everything once."""

ROUNDS: Final = 3
MORE_CPU_SECONDS: Final = 0.1
"""A hundredth of a core over ten seconds: two measurements of the same thing are as far apart."""


class Idle(Struct, frozen=True, kw_only=True):
    """The processor seconds that doing nothing took: medians over the rounds."""

    engine: float
    postgres: float | None


class TimersResult(Struct, frozen=True, kw_only=True):
    """Cost of many pending timers for an engine (`callsheet work`) and PostgreSQL while none of them is due.

    `cpu_seconds_more` is the additional CPU time of both with the timers, over `idle_seconds`.
    """

    bench: str
    quick: bool
    machine: Machine
    timers: int
    idle_seconds: float
    rounds: int
    without: Idle
    with_timers: Idle
    cpu_seconds_more: float
    bars: list[Bar]


def run(options: Options) -> TimersResult:
    """Measure, and hold the figure to its bar. Raises EmbeddedUnusable, ServerFailed."""
    timers = TIMERS_QUICK if options.quick else TIMERS
    idle_seconds = options.seconds or (IDLE_SECONDS_QUICK if options.quick else IDLE_SECONDS)
    with postgres(options) as database, tempfile.TemporaryDirectory(prefix="callsheet-bench-") as path:
        where = machine(database.directory)
        conninfo = database.fresh_database("timers", COMPONENTS)
        directory = Path(path)
        without = _idle(database, conninfo, directory, idle_seconds)
        _fill(conninfo, directory, timers)
        with_timers = _idle(database, conninfo, directory, idle_seconds)
        database.drop_database("timers")
    more = _sum(with_timers) - _sum(without)
    return TimersResult(
        bench="timers",
        quick=options.quick,
        machine=where,
        timers=timers,
        idle_seconds=idle_seconds,
        rounds=ROUNDS,
        without=without,
        with_timers=with_timers,
        cpu_seconds_more=round(more, 3),
        bars=[bar("cpu_seconds_more", round(more, 3), "<=", MORE_CPU_SECONDS)],
    )


def _sum(idle: Idle) -> float:
    return idle.engine + (idle.postgres or 0.0)


def _fill(conninfo: str, directory: Path, timers: int) -> None:
    """Start runs that wait for a time far in the future, and wait until the read models have them."""
    print_progress(f"  beginning {timers:,} runs that wait")
    asyncio.run(wait_in_many(conninfo, timers))
    worker = start_process(["project"], build_environment(conninfo, directory, secrets.token_urlsafe(48)), directory)
    try:
        found = asyncio.run(wait_for_read_models(conninfo))
    finally:
        worker.stop()
    if found != timers:
        raise ServerFailed(f"{found} timers of {timers} are in the read model")


def _idle(database: Postgres, conninfo: str, directory: Path, seconds: float) -> Idle:
    """Run an engine that has nothing to do, and read the clocks around some rounds of it."""
    database.checkpoint()
    engine = start_process(["work"], build_environment(conninfo, directory, secrets.token_urlsafe(48)), directory)
    try:
        engine.wait_until(engine.is_working)
        time.sleep(SETTLING_SECONDS)
        rounds = [_round(engine.clock, database.clock, seconds) for _ in range(ROUNDS)]
    finally:
        engine.stop()
    postgres_seconds = [row.postgres for row in rounds if row.postgres is not None]
    idle = Idle(
        engine=round(statistics.median(row.engine for row in rounds), 3),
        postgres=round(statistics.median(postgres_seconds), 3) if postgres_seconds else None,
    )
    print_progress(f"  {seconds:.0f} s idle: engine {idle.engine} s of processor time, PostgreSQL {idle.postgres} s")
    return idle


def _round(engine: CpuClock, postgres_clock: CpuClock | None, seconds: float) -> Idle:
    before, before_postgres = engine.seconds(), _seconds(postgres_clock)
    time.sleep(seconds)
    after, after_postgres = engine.seconds(), _seconds(postgres_clock)
    if before is None or after is None:
        raise ServerFailed("processor time is read from /proc, and there is none here")
    if before_postgres is None or after_postgres is None:
        return Idle(engine=after - before, postgres=None)
    return Idle(engine=after - before, postgres=after_postgres - before_postgres)


def _seconds(clock: CpuClock | None) -> float | None:
    return None if clock is None else clock.seconds()
