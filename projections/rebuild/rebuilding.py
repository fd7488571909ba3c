"""A rebuild from its beginning, or from where it was left, to the swap and its report, beside the live tables."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import Struct
from psycopg import AsyncConnection

from projections.rebuild import generation, ledger
from projections.rebuild.bounds import Phase, Tell
from projections.rebuild.building import Building
from projections.rebuild.comparing import SNAPSHOT, Sides, compared
from projections.rebuild.faults import RebuildRefused, SwapPostponed
from projections.rebuild.ledger import REPORT, Rebuild
from projections.rebuild.report import ProjectionReport, RebuildReport
from projections.rebuild.swapping import abandon, swap
from projections.runtime.projection import Projection
from projections.settings import RebuildSettings
from store.postgres.arrays import register
from store.postgres.connections import ASYNC_COMMIT, bounded, connected
from store.postgres.migrations import migrations_of

Connection = AsyncConnection[tuple[Any, ...]]

ONE_PROCESS: Final = "set max_parallel_workers_per_gather = 0; set max_parallel_maintenance_workers = 0"
"""Let no statement take more than one processor."""

IDLE: Final = "select set_config('idle_in_transaction_session_timeout', %b::text, false)"
"""Let a snapshot wait for the rebuild to reach it, in milliseconds."""


class Wanted(Struct, frozen=True, kw_only=True):
    """What somebody wants rebuilt, and how."""

    projections: tuple[Projection, ...]
    resume: bool = False
    events_per_second: float | None = None
    """How fast at most. What is held back also gives way: it takes one processor at a time, for the sake of others."""

    @property
    def gives_way(self) -> bool:
        """Tell whether others come first."""
        return self.events_per_second is not None

    @property
    def names(self) -> tuple[str, ...]:
        """Give the names of the projections."""
        return tuple(one.name for one in self.projections)

    @property
    def tables(self) -> tuple[str, ...]:
        """Give the tables of all of them."""
        return tuple(table for one in self.projections for table in one.tables)


async def rebuild(
    conninfo: str, wanted: Wanted, settings: RebuildSettings, tell: Tell, clock: Callable[[], datetime]
) -> RebuildReport:
    """Rebuild projections beside the live ones and put the result in their place.

    It may be cancelled or killed at any moment: what is committed is gone on from with `resume`. Raises
    RebuildRefused, RebuildPoisoned, psycopg.OperationalError.
    """
    begun = time.monotonic()
    async with _connections(conninfo, settings) as (writing, reading):
        if wanted.gives_way:
            await writing.execute(ONE_PROCESS)
        live, path = await generation.live_schema(writing)
        one = await _taken(writing, wanted)
        await generation.look_in(writing, f"{one.schema}, {path}")
        building = Building(
            writing, reading, one, wanted.projections, settings, tell, events_per_second=wanted.events_per_second
        )
        await _near(writing, building, wanted, settings.near_events)
        if one.indexes:
            building.told(Phase.INDEXING, building.position)
        await generation.make_indexes(writing, one, wanted.tables)
        await _near(writing, building, wanted, settings.near_events)
        reports = await _compared(conninfo, building, one, wanted, live, settings)
        stands = await _swapped(writing, one, building, wanted, live, settings)
        seconds = time.monotonic() - begun
        report = RebuildReport(
            id=one.id,
            projections=reports,
            events=building.events,
            seconds=round(seconds, 3),
            events_per_second=round(building.events / seconds, 1),
            swapped_at=stands,
            ended_at=clock(),
            same=not any(each.different for each in reports),
        )
        await writing.execute(REPORT, {"id": one.id, "report": msgspec.json.encode(report).decode()})
        return report


async def abandoned(conninfo: str, names: Sequence[str], settings: RebuildSettings) -> list[int]:
    """Give up what was begun of these projections, and give the numbers of those rebuilds. Raises RebuildRefused."""
    async with _connections(conninfo, settings) as (connection, _):
        await ledger.own(connection, names)
        found = await ledger.unfinished(connection, names)
        for one in found:
            await abandon(connection, one)
        return [one.id for one in found]


@asynccontextmanager
async def _connections(conninfo: str, settings: RebuildSettings) -> AsyncGenerator[tuple[Connection, Connection]]:
    patient = _patient(conninfo, settings.statement_timeout_ms)
    async with connected(patient) as writing, connected(patient) as reading:
        register(writing)
        await writing.execute(ASYNC_COMMIT)  # a crash costs a moment of folding again
        yield writing, reading


def _patient(conninfo: str, timeout_ms: int) -> str:
    return bounded(conninfo, statement_timeout_ms=timeout_ms, application_name="callsheet-rebuild")


async def _taken(connection: Connection, wanted: Wanted) -> Rebuild:
    """Begin a rebuild, or take up the one that was left. Raises RebuildRefused."""
    await ledger.own(connection, wanted.names)
    found = await ledger.unfinished(connection, wanted.names)
    if not found:
        if wanted.resume:
            raise RebuildRefused("there is no rebuild of these projections to resume")
        return await _begun(connection, wanted)
    one = found[0]
    named = ", ".join(one.projections)
    if not wanted.resume:
        raise RebuildRefused(
            f"rebuild {one.id} of {', '.join(one.projections)} has not ended: --resume or --abandon it"
        )
    if len(found) > 1 or set(one.projections) != set(wanted.names):
        raise RebuildRefused(f"rebuild {one.id} is of {named}: name just these to resume it")
    if one.migrations != len(migrations_of(generation.COMPONENT)):
        raise RebuildRefused(f"the tables were migrated after rebuild {one.id} began: --abandon it, and begin anew")
    return one


async def _begun(connection: Connection, wanted: Wanted) -> Rebuild:
    async with connection.transaction():
        one = await ledger.begin(connection, wanted.names, migrations=len(migrations_of(generation.COMPONENT)))
        _, path = await generation.live_schema(connection)
        await generation.make_tables(connection, one, wanted.tables)
        await generation.look_in(connection, path)
        await generation.keep_indexes(connection, one)
    return one


async def _near(connection: Connection, building: Building, wanted: Wanted, near: int) -> None:
    """Fold until the live projections are near."""
    while True:
        targets = await ledger.checkpoints(connection, wanted.names)
        await building.up_to(targets)
        if building.behind(await ledger.checkpoints(connection, wanted.names)) <= near:
            return


async def _compared(
    conninfo: str, building: Building, one: Rebuild, wanted: Wanted, live: str, settings: RebuildSettings
) -> tuple[ProjectionReport, ...]:
    """Compare every table at the position that a snapshot of the live ones is of."""
    patient = _patient(conninfo, settings.statement_timeout_ms)
    async with connected(patient) as former, connected(patient) as new:
        await former.execute(IDLE, [str(settings.statement_timeout_ms)])
        if wanted.gives_way:
            await former.execute(ONE_PROCESS)
            await new.execute(ONE_PROCESS)
        await former.execute(SNAPSHOT)
        stands = await ledger.checkpoints(former, wanted.names)
        await building.up_to(stands, Phase.COMPARING)
        building.told(Phase.COMPARING, building.position)
        await new.execute(SNAPSHOT)
        sides = Sides(former=former, former_schema=live, new=new, new_schema=one.schema, at_once=not wanted.gives_way)
        reports: list[ProjectionReport] = []
        for projection in wanted.projections:
            tables = [await compared(sides, table, samples=settings.sampled_differences) for table in projection.tables]
            reports.append(
                ProjectionReport(projection=projection.name, compared_at=stands[projection.name], tables=tuple(tables))
            )
        return tuple(reports)


async def _swapped(
    connection: Connection, one: Rebuild, building: Building, wanted: Wanted, live: str, settings: RebuildSettings
) -> dict[str, int]:
    for _ in range(settings.swap_tries):
        await _near(connection, building, wanted, settings.near_events)
        building.told(Phase.SWAPPING, building.position)
        try:
            return await swap(connection, one, building, wanted.tables, live, settings)
        except SwapPostponed:
            await asyncio.sleep(settings.swap_pause_seconds)
    raise RebuildRefused(f"the live tables could not be had in {settings.swap_tries} tries: --resume to go on trying")
