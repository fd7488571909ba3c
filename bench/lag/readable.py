"""From commit to readable: facts are appended at a steady rate, and every checkpoint is watched from outside."""

import asyncio
import bisect
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import psycopg
import uvloop
from msgspec import Struct

from bench.harness.figures import percentile
from bench.harness.progress import print_progress
from bench.lag.facts import FACTS_OF_A_RUN, appends_of_a_run
from bench.lag.processes import RELAYING, processes
from bus.nats.relay_status import read_relay_status
from callsheet.wiring.projections import PROJECTIONS
from domain.fact import Fact
from projections.runtime.status import read_projection_statuses
from store.log.log import Log
from store.log.records import Accepted
from store.postgres.connections import open_connection
from store.settings import StoreSettings

WARM_UP_SECONDS: Final = 3.0
LOOK_SECONDS: Final = 0.003
READY_SECONDS_MAX: Final = 60.0
CAUGHT_UP_SECONDS_MAX: Final = 30.0

CHECKPOINTS: Final = "select projection, position from checkpoints"


class Readable(Struct, frozen=True, kw_only=True):
    """The time from the answer to a command until every projection that wants its facts has committed them."""

    events: int
    events_per_second: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    by_projection_p99_ms: dict[str, float]


class Committed(Struct, frozen=True):
    """One fact, and when its caller was answered."""

    kind: type[Fact]
    position: int
    at: float


class Watched:
    """Observed checkpoints: when each projection was first seen at each position."""

    def __init__(self) -> None:
        """Create it without observations."""
        self._positions: dict[str, list[int]] = {}
        self._times: dict[str, list[float]] = {}

    def record_checkpoint(self, projection: str, position: int, at: float) -> None:
        """Record the checkpoint of a projection as read at a time."""
        positions = self._positions.setdefault(projection, [0])
        if position > positions[-1]:
            positions.append(position)
            self._times.setdefault(projection, [0.0]).append(at)

    def stands(self, projection: str) -> int:
        """Return the last observed position of a projection."""
        return self._positions.get(projection, [0])[-1]

    def readable_at(self, projection: str, position: int) -> float:
        """Return when a projection was first observed at or after a position."""
        return self._times[projection][bisect.bisect_left(self._positions[projection], position)]


def readable(conninfo: str, url: str, directory: Path, *, rate: int, seconds: float) -> Readable:
    """Measure with a process that relays and one that projects; this one appends and looks. Raises ServerFailed."""
    with processes(conninfo, url, directory) as start:
        start.relaying()
        uvloop.run(_ready(conninfo, relay_only=True))
        start.projecting()
        uvloop.run(_ready(conninfo, relay_only=False))
        return uvloop.run(_measure(conninfo, rate, seconds))


async def _ready(conninfo: str, *, relay_only: bool) -> None:
    """Wait until one process relays, and then until every projection is followed."""
    async with open_connection(conninfo) as connection, asyncio.timeout(READY_SECONDS_MAX):
        while True:
            relays = (await read_relay_status(connection)).holder is not None
            found = await read_projection_statuses(connection)
            wanted = RELAYING if relay_only else tuple(PROJECTIONS)
            if relays and all(found.get(name).followed_by for name in wanted):
                return
            await asyncio.sleep(0.1)


async def _measure(conninfo: str, rate: int, seconds: float) -> Readable:
    log = Log(conninfo, StoreSettings())
    watched = Watched()
    async with log.open_readers(), asyncio.TaskGroup() as group:
        serving = group.create_task(log.run())
        looking = group.create_task(_poll_checkpoints(conninfo, watched))
        await log.wait_until_connected()
        print_progress(f"appending {rate:,} events/s for {seconds:.0f} s")
        begun, committed = await _append_facts(log, rate, WARM_UP_SECONDS + seconds)
        await _wait_until_caught_up(watched, committed)
        serving.cancel()
        looking.cancel()
    return _summarize(watched, [fact for fact in committed if fact.at > begun + WARM_UP_SECONDS], seconds)


async def _append_facts(log: Log, rate: int, seconds: float) -> tuple[float, list[Committed]]:
    """Begin runs at a steady pace, each of them one append after the other."""
    committed: list[Committed] = []

    async def append_run() -> None:
        for append in appends_of_a_run():
            answer = await log.append(append)
            at = time.perf_counter()
            assert isinstance(answer, Accepted)  # noqa: S101  # no command carries an id
            committed.extend(Committed(type(fact.fact), fact.position, at) for fact in answer.recorded)

    begun = time.perf_counter()
    every = FACTS_OF_A_RUN / rate
    async with asyncio.TaskGroup() as group:
        for number in range(int(seconds / every)):
            await asyncio.sleep(max(0.0, begun + number * every - time.perf_counter()))
            group.create_task(append_run())
    return begun, committed


async def _poll_checkpoints(conninfo: str, watched: Watched) -> None:
    async with open_connection(conninfo) as connection:
        cursor: psycopg.AsyncCursor[tuple[str, int]] = connection.cursor(binary=True)  # pyright: ignore[reportAssignmentType]  # the two columns of CHECKPOINTS
        while True:
            await cursor.execute(CHECKPOINTS, prepare=True)
            rows = await cursor.fetchall()
            at = time.perf_counter()
            for projection, position in rows:
                watched.record_checkpoint(projection, position, at)
            await asyncio.sleep(LOOK_SECONDS)


async def _wait_until_caught_up(watched: Watched, committed: Sequence[Committed]) -> None:
    """Wait until every projection has committed the last fact that it wants."""
    async with asyncio.timeout(CAUGHT_UP_SECONDS_MAX):
        for name, wants in _wants().items():
            last = max((fact.position for fact in committed if fact.kind in wants), default=0)
            while watched.stands(name) < last:  # noqa: ASYNC110  # seen from outside: nothing here could set an event
                await asyncio.sleep(LOOK_SECONDS)


def _wants() -> dict[str, frozenset[type[Fact]]]:
    return {name: make().wants for name, make in PROJECTIONS.items()}


def _summarize(watched: Watched, committed: Sequence[Committed], seconds: float) -> Readable:
    by_projection = {
        name: [watched.readable_at(name, fact.position) - fact.at for fact in committed if fact.kind in wants]
        for name, wants in _wants().items()
    }
    latest = sorted(
        max(watched.readable_at(name, fact.position) for name, wants in _wants().items() if fact.kind in wants)
        - fact.at
        for fact in committed
    )
    return Readable(
        events=len(committed),
        events_per_second=round(len(committed) / seconds, 1),
        p50_ms=_ms(latest, 50),
        p99_ms=_ms(latest, 99),
        max_ms=_ms(latest, 100),
        by_projection_p99_ms={name: _ms(sorted(lags), 99) for name, lags in by_projection.items() if lags},
    )


def _ms(ordered_seconds: Sequence[float], percent: float) -> float:
    return round(percentile(ordered_seconds, percent) * 1_000, 1)
