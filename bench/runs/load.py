"""A load of `bench runs`: a client process, and the CPU times and the lag that are read while it measures."""

import asyncio
import sys
import time
from asyncio.subprocess import PIPE

import msgspec
from msgspec import Struct

from bench.harness.processes import CpuClock, share, total
from bench.harness.progress import print_progress
from bench.runs.client import BEGAN, ENDED, ClientLoad, ClientReport
from bench.runs.lag import Lag, LagSampler
from bench.runs.server import HOST, Server


class Bench(Struct, frozen=True, kw_only=True):
    """Shared by all loads: the server, its database, and the processes whose CPU time is read."""

    server: Server
    conninfo: str
    postgres_clock: CpuClock | None


class Phase(Struct, frozen=True, kw_only=True):
    """One load. The shares are of one core: of the client, of the server's processes, and of PostgreSQL's."""

    in_flight: int
    seconds: float
    runs_per_second: float
    p50_ms: float
    p99_ms: float
    client_cpu: float
    server_cpu: float | None
    postgres_cpu: float | None
    lag_ms_p50: float
    lag_ms_p99: float
    lag_ms_max: float
    completed: int
    failed: int
    failures: list[str]


class Clocks(Struct, frozen=True, kw_only=True):
    """A reading of the time, and of the processor seconds taken until then; None where they cannot be read."""

    now: float
    server: float | None
    postgres: float | None


async def measure_load(bench: Bench, in_flight: int, seconds: float, warm_up_seconds: float) -> Phase:
    """Run one client process, and read clocks and lag while it measures."""
    load = ClientLoad(
        host=HOST, port=bench.server.port, request=bench.server.run_request, in_flight=in_flight,
        warm_up_seconds=warm_up_seconds, seconds=seconds,
    )  # fmt: skip
    client = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.runs.client", stdin=PIPE, stdout=PIPE)
    if client.stdin is None or client.stdout is None:
        message = "pipes were asked for"
        raise TypeError(message)
    client.stdin.write(msgspec.json.encode(load))
    client.stdin.close()
    await _line(client.stdout, BEGAN)
    sampler = LagSampler(bench.conninfo)
    sampling = asyncio.create_task(sampler.run())
    before = _clocks(bench)
    await _line(client.stdout, ENDED)
    after = _clocks(bench)
    sampler.stop()
    lag = await sampling
    report = msgspec.json.decode(await client.stdout.read(), type=ClientReport)
    await client.wait()
    return _report(_phase(load, report, lag, before, after))


async def _line(stdout: asyncio.StreamReader, expected: str) -> None:
    line = (await stdout.readline()).decode().strip()
    if line != expected:
        message = f"the client ended early: {line!r} in place of {expected!r}"
        raise RuntimeError(message)


def _clocks(bench: Bench) -> Clocks:
    postgres = None if bench.postgres_clock is None else bench.postgres_clock.seconds()
    return Clocks(now=time.monotonic(), server=total(bench.server.clocks), postgres=postgres)


def _phase(
    load: ClientLoad,
    report: ClientReport,
    lag: Lag,
    before: Clocks,
    after: Clocks,
) -> Phase:
    elapsed = after.now - before.now
    return Phase(
        in_flight=load.in_flight,
        seconds=load.seconds,
        runs_per_second=report.figures.per_second,
        p50_ms=report.figures.p50_ms,
        p99_ms=report.figures.p99_ms,
        client_cpu=report.client_cpu,
        server_cpu=share(before.server, after.server, elapsed),
        postgres_cpu=share(before.postgres, after.postgres, elapsed),
        lag_ms_p50=lag.p50_ms,
        lag_ms_p99=lag.p99_ms,
        lag_ms_max=lag.max_ms,
        completed=report.completed,
        failed=report.failed,
        failures=report.failures,
    )


def _report(phase: Phase) -> Phase:
    print_progress(
        f"  {phase.in_flight:>4} in flight  {phase.runs_per_second:>7,.0f} runs/s  p50 {phase.p50_ms:>7.2f} ms"
        f"  p99 {phase.p99_ms:>7.2f} ms  lag p99 {phase.lag_ms_p99:>6,.0f} ms"
        f"  cpu client {phase.client_cpu} server {phase.server_cpu} postgres {phase.postgres_cpu}"
    )
    for failure in phase.failures:
        print_progress(f"    failed: {failure}")
    return phase
