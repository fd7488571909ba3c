"""`bench rebuild`: every projection built again from a generated log, by the command that an operator uses."""

import asyncio
import os
import subprocess
import sys
import tempfile
from typing import Final

import msgspec
import psycopg
from msgspec import Struct

from bench.harness.figures import Bar, bar
from bench.harness.machine import Machine, machine
from bench.harness.options import Options
from bench.harness.progress import print_progress
from bench.harness.servers import Postgres, postgres
from bench.rebuild import library as rebuild_library
from bench.rebuild.log import generate
from bench.rebuild.reads import reading
from callsheet.wiring.core import COMPONENTS
from callsheet.wiring.projections import PROJECTIONS
from projections.rebuild.report import RebuildReport
from store.log.log import Log
from store.log.records import Recorded
from store.settings import StoreSettings

EVENTS: Final = 1_000_000
EVENTS_QUICK: Final = 50_000
LIBRARY_EVENTS: Final = 5_000
QUIET_SECONDS: Final = 10.0
STAND: Final = "insert into checkpoints (projection, position) values (%s, %s)"
KILOBYTE: Final = 1_024
PROJECTIONS_COMMAND: Final = (sys.executable, "-m", "callsheet", "projections")


class Measured(Struct, frozen=True, kw_only=True):
    """One rebuild: from the start of its process to the swap, and the memory it took at most."""

    report: RebuildReport
    peak_mb: float


class RebuildResult(Struct, frozen=True, kw_only=True):
    """Result of `bench rebuild`. Rates are positions of the log per second, with facts that a projection ignores."""

    machine: Machine
    quick: bool
    events: int
    events_per_second: dict[str, float]
    peak_mb: float
    same: bool
    library_events_per_second: float
    ratio_to_library: float
    reads_p99_ms: float
    reads_p99_during_ms: float
    reads_p99_ratio: float
    bars: list[Bar]


def run(options: Options) -> RebuildResult:
    """Measure, and hold the figures to the bars. Raises EmbeddedUnusable."""
    events = EVENTS_QUICK if options.quick else EVENTS
    with postgres(options) as server:
        where = machine(server.directory)
        conninfo = server.fresh_database("rebuild", COMPONENTS)
        print_progress(f"generating a log of {events:,} events")
        generate(conninfo, events)
        with psycopg.connect(conninfo, autocommit=True) as connection:
            for name in PROJECTIONS:
                connection.execute(STAND, [name, events])
        server.checkpoint()
        print_progress("filling the live tables")
        _rebuild_and_prune(conninfo, "--all")
        measured = {name: _report(name, events, _rebuild_and_prune(conninfo, name)) for name in PROJECTIONS}
        measured["all"] = _report("all", events, _rebuild_and_prune(conninfo, "--all"))
        rates = {name: round(events / measurement.report.seconds, 1) for name, measurement in measured.items()}
        quiet, during = asyncio.run(_reads(conninfo, rates["runs"] / 2))
        library = _library(server, conninfo)
        server.drop_database("rebuild")
    return _result(options, where, events, measured, rates, quiet, during, library)


def _result(
    options: Options,
    where: Machine,
    events: int,
    measured: dict[str, Measured],
    rates: dict[str, float],
    quiet: float,
    during: float,
    library: float,
) -> RebuildResult:
    peak = max(measurement.peak_mb for measurement in measured.values())
    ratio, reads = round(rates["runs"] / library, 1), round(during / quiet, 2)
    return RebuildResult(
        machine=where,
        quick=options.quick,
        events=events,
        events_per_second=rates,
        peak_mb=peak,
        same=all(measurement.report.same for measurement in measured.values()),
        library_events_per_second=round(library, 1),
        ratio_to_library=ratio,
        reads_p99_ms=quiet,
        reads_p99_during_ms=during,
        reads_p99_ratio=reads,
        bars=[
            bar("runs, events/s", rates["runs"], ">=", 40_000),
            bar("all projections together, events/s", rates["all"], ">=", 12_000),
            bar("runs against the library's ProjectionRunner", ratio, ">=", 30),
            bar("peak memory, MB", peak, "<=", 400),
            bar("p99 of reads during a rebuild at half its rate, against without", reads, "<=", 2),
        ],
    )


def _rebuild_and_prune(conninfo: str, *arguments: str) -> Measured:
    """Rebuild, and drop what was replaced."""
    measured = _run_rebuild(conninfo, *arguments)
    _prune(conninfo)
    return measured


def _run_rebuild(conninfo: str, *arguments: str) -> Measured:
    """Run the command and wait for it; return its output and its peak memory."""
    command = [*PROJECTIONS_COMMAND, "rebuild", "--json", *arguments]
    with tempfile.TemporaryFile() as answer:
        process = subprocess.Popen(command, stdout=answer, env={**os.environ, "DATABASE_URL": conninfo})  # noqa: S603  # our own program
        _, _, used = os.wait4(process.pid, 0)
        process.returncode = 0
        answer.seek(0)
        report = msgspec.json.decode(answer.read(), type=RebuildReport)
    return Measured(report=report, peak_mb=round(used.ru_maxrss / KILOBYTE, 1))


def _prune(conninfo: str) -> None:
    command = [*PROJECTIONS_COMMAND, "prune"]
    subprocess.run(command, check=True, stdout=sys.stderr, env={**os.environ, "DATABASE_URL": conninfo})  # noqa: S603  # as above


def _report(name: str, events: int, measured: Measured) -> Measured:
    rate = events / measured.report.seconds
    print_progress(f"  {name:<10} {rate:>10,.0f} events/s  {measured.peak_mb:>6.0f} MB")
    return measured


async def _reads(conninfo: str, rate: float) -> tuple[float, float]:
    """Return the p99 of reads without a rebuild, and during one at a given rate."""
    print_progress(f"reading beside a rebuild at {rate:,.0f} events/s")
    async with reading(conninfo) as readers:
        await asyncio.sleep(QUIET_SECONDS)
        quiet = readers.p99_ms()
        await asyncio.to_thread(_run_rebuild, conninfo, "runs", "--rate", str(max(1, int(rate))))
        during = readers.p99_ms()
        await asyncio.to_thread(_prune, conninfo)
        return quiet, during


def _library(server: Postgres, conninfo: str) -> float:
    """Fold the beginning of the same log with the library, in a separate database."""
    print_progress("the library's ProjectionRunner")
    facts = asyncio.run(_beginning(conninfo))
    rate = rebuild_library.measure(server.fresh_database("library", COMPONENTS), facts)
    server.drop_database("library")
    print_progress(f"  {'library':<10} {rate:>10,.0f} events/s")
    return rate


async def _beginning(conninfo: str) -> list[Recorded]:
    log = Log(conninfo, StoreSettings())
    async with log.open_readers():
        return list((await log.read_log(after=0, limit=LIBRARY_EVENTS)).events)
