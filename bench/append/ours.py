"""Callsheet's own log under load: one process, one appender, many callers on one event loop."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import uvloop
from msgspec import Struct
from uuid_utils.compat import uuid7

from bench.append.event import Source, source
from bench.harness.figures import Figures, figures
from store.errors import Conflict, Unavailable
from store.log.log import Log
from store.log.records import Append
from store.settings import StoreSettings

CONFLICT_EVERY: Final = 100
TAKEN_STREAMS: Final = 1_000


class Load(Struct, frozen=True, kw_only=True):
    """One measurement to make."""

    in_flight: int
    seconds: float
    warm_up_seconds: float


class ConflictCount(Struct, kw_only=True):
    """Outcomes of a load in which each hundredth command expects an outdated version."""

    accepted: int = 0
    conflicting_sent: int = 0
    conflicting_refused: int = 0
    others_failed: int = 0


class ConflictResult(Struct, frozen=True, kw_only=True):
    """The figures of a load with conflicts, and the exact count from its first command to its last."""

    in_every: int
    figures: Figures
    count: ConflictCount
    log_grew_by: int


def measure(conninfo: str, load: Load) -> Figures:
    """Append from this many concurrent callers, each waiting for its own response."""
    return uvloop.run(_measure(conninfo, load))


def measure_conflicts(conninfo: str, load: Load) -> ConflictResult:
    """Measure the same load while every hundredth command expects an outdated version."""
    return uvloop.run(_measure_conflicts(conninfo, load))


async def _measure(conninfo: str, load: Load) -> Figures:
    async with _serving(conninfo) as log:
        commands = source()
        await _callers(log, commands, load.in_flight, load.warm_up_seconds)
        begun = time.perf_counter()
        latencies = await _callers(log, commands, load.in_flight, load.seconds)
        return figures(latencies, time.perf_counter() - begun)


async def _measure_conflicts(conninfo: str, load: Load) -> ConflictResult:
    async with _serving(conninfo) as log:
        commands = source()
        late = [commands.command(uuid7()) for _ in range(TAKEN_STREAMS)]
        await asyncio.gather(*(log.append(command) for command in late))
        head_before, _ = await log.head()
        racing = _Racing(log, commands, late)
        await asyncio.gather(*(racing.caller(load.warm_up_seconds) for _ in range(load.in_flight)))
        racing.latencies.clear()
        begun = time.perf_counter()
        await asyncio.gather(*(racing.caller(load.seconds) for _ in range(load.in_flight)))
        measured = figures(racing.latencies, time.perf_counter() - begun)
        head_after, _ = await log.head()
        return ConflictResult(
            in_every=CONFLICT_EVERY, figures=measured, count=racing.count, log_grew_by=head_after - head_before
        )


@asynccontextmanager
async def _serving(conninfo: str) -> AsyncGenerator[Log]:
    """Open a log and serve its appends; it is connected when the block begins."""
    log = Log(conninfo, StoreSettings())
    log.wake_others = False  # as in the product when no other process listens: nobody pays for a NOTIFY
    async with log.open_readers(), asyncio.TaskGroup() as group:
        server = group.create_task(log.run())
        await log.wait_until_connected()
        yield log
        server.cancel()


async def _callers(log: Log, commands: Source, in_flight: int, seconds: float) -> list[float]:
    """Keep this many commands in flight, and return all latencies."""
    latencies: list[float] = []
    deadline = time.perf_counter() + seconds
    await asyncio.gather(*(_caller(log, commands, deadline, latencies) for _ in range(in_flight)))
    return latencies


async def _caller(log: Log, commands: Source, deadline: float, latencies: list[float]) -> None:
    append, clock, command = log.append, time.perf_counter, commands.command
    begun = clock()
    while begun < deadline:
        await append(command(uuid7()))
        now = clock()
        latencies.append(now - begun)
        begun = now


class _Racing:
    """Callers of which every hundredth command is too late: its stream was taken before."""

    def __init__(self, log: Log, commands: Source, late: list[Append]) -> None:
        self._log = log
        self._commands = commands
        self._late = late
        self._sent = 0
        self.count = ConflictCount()
        self.latencies: list[float] = []

    async def caller(self, seconds: float) -> None:
        deadline = time.perf_counter() + seconds
        while (begun := time.perf_counter()) < deadline:
            self._sent += 1
            if self._sent % CONFLICT_EVERY:
                await self._in_time()
                self.latencies.append(time.perf_counter() - begun)
            else:
                await self._too_late(self._late[self._sent // CONFLICT_EVERY % len(self._late)])

    async def _in_time(self) -> None:
        try:
            await self._log.append(self._commands.command(uuid7()))
        except (Conflict, Unavailable):
            self.count.others_failed += 1
        else:
            self.count.accepted += 1

    async def _too_late(self, command: Append) -> None:
        self.count.conflicting_sent += 1
        try:
            await self._log.append(command)
        except Conflict:
            self.count.conflicting_refused += 1
