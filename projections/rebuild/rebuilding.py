"""Rebuild projections beside the live tables: begin or resume, fold, compare, swap, report."""

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
from projections.rebuild.comparing import SNAPSHOT, Sides, compare
from projections.rebuild.faults import RebuildRefused, SwapPostponed
from projections.rebuild.ledger import REPORT, Rebuild
from projections.rebuild.report import ProjectionReport, RebuildReport
from projections.rebuild.swapping import abandon, swap
from projections.runtime.projection import Projection
from projections.settings import RebuildSettings
from store.postgres.arrays import register
from store.postgres.connections import ASYNC_COMMIT, add_bounds, open_connection
from store.postgres.migrations import list_migrations

Connection = AsyncConnection[tuple[Any, ...]]

ONE_PROCESS: Final = "set max_parallel_workers_per_gather = 0; set max_parallel_maintenance_workers = 0"
"""Disable parallel queries: a statement uses one processor."""

IDLE: Final = "select set_config('idle_in_transaction_session_timeout', %b::text, false)"
"""Set how long a snapshot may wait for the rebuild to reach it, in milliseconds."""


class RebuildRequest(Struct, frozen=True, kw_only=True):
    """A request to rebuild projections."""

    projections: tuple[Projection, ...]
    resume: bool = False
    events_per_second: float | None = None
    """Rate limit. A limited rebuild also uses one processor at a time, to leave capacity for others."""

    @property
    def gives_way(self) -> bool:
        """Return whether the rebuild leaves capacity for others."""
        return self.events_per_second is not None

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the projections."""
        return tuple(projection.name for projection in self.projections)

    @property
    def tables(self) -> tuple[str, ...]:
        """Return the tables of all projections."""
        return tuple(table for projection in self.projections for table in projection.tables)


async def rebuild(
    conninfo: str, request: RebuildRequest, settings: RebuildSettings, tell: Tell, clock: Callable[[], datetime]
) -> RebuildReport:
    """Rebuild projections beside the live ones, and replace these by the result.

    It may be cancelled or killed at any time: `resume` continues from what is committed. Raises
    RebuildRefused, RebuildPoisoned, DatabaseAway.
    """
    begun = time.monotonic()
    async with _connections(conninfo, settings) as (writing, reading):
        if request.gives_way:
            await writing.execute(ONE_PROCESS)
        live, path = await generation.live_schema(writing)
        ongoing = await _begin_or_resume(writing, request)
        await generation.look_in(writing, f"{ongoing.schema}, {path}")
        building = Building(
            writing, reading, ongoing, request.projections, settings, tell, events_per_second=request.events_per_second
        )
        await _catch_up(writing, building, request, settings.near_events)
        if ongoing.indexes:
            building.report(Phase.INDEXING, building.position)
        await generation.make_indexes(writing, ongoing, request.tables)
        await _catch_up(writing, building, request, settings.near_events)
        reports = await _compare(conninfo, building, ongoing, request, live, settings)
        stands = await _swap_when_possible(writing, ongoing, building, request, live, settings)
        seconds = time.monotonic() - begun
        report = RebuildReport(
            id=ongoing.id,
            projections=reports,
            events=building.events,
            seconds=round(seconds, 3),
            events_per_second=round(building.events / seconds, 1),
            swapped_at=stands,
            ended_at=clock(),
            same=not any(each.different for each in reports),
        )
        await writing.execute(REPORT, {"id": ongoing.id, "report": msgspec.json.encode(report).decode()})
        return report


async def abandon_unfinished(conninfo: str, names: Sequence[str], settings: RebuildSettings) -> list[int]:
    """Abandon the unfinished rebuilds of these projections, and return their ids. Raises RebuildRefused."""
    async with _connections(conninfo, settings) as (connection, _):
        await ledger.acquire_roles(connection, names)
        found = await ledger.find_unfinished(connection, names)
        for ongoing in found:
            await abandon(connection, ongoing)
        return [ongoing.id for ongoing in found]


@asynccontextmanager
async def _connections(conninfo: str, settings: RebuildSettings) -> AsyncGenerator[tuple[Connection, Connection]]:
    patient = _patient(conninfo, settings.statement_timeout_ms)
    async with open_connection(patient) as writing, open_connection(patient) as reading:
        register(writing)
        await writing.execute(ASYNC_COMMIT)  # after a crash some facts are folded again
        yield writing, reading


def _patient(conninfo: str, timeout_ms: int) -> str:
    return add_bounds(conninfo, statement_timeout_ms=timeout_ms, application_name="callsheet-rebuild")


async def _begin_or_resume(connection: Connection, request: RebuildRequest) -> Rebuild:
    """Begin a rebuild, or resume the unfinished one. Raises RebuildRefused."""
    await ledger.acquire_roles(connection, request.names)
    found = await ledger.find_unfinished(connection, request.names)
    if not found:
        if request.resume:
            raise RebuildRefused("there is no rebuild of these projections to resume")
        return await _begin(connection, request)
    ongoing = found[0]
    named = ", ".join(ongoing.projections)
    if not request.resume:
        raise RebuildRefused(
            f"rebuild {ongoing.id} of {', '.join(ongoing.projections)} is unfinished: --resume or --abandon it"
        )
    if len(found) > 1 or set(ongoing.projections) != set(request.names):
        raise RebuildRefused(f"rebuild {ongoing.id} is of {named}: name exactly these to resume it")
    if ongoing.migrations != len(list_migrations(generation.COMPONENT)):
        raise RebuildRefused(
            f"the tables were migrated after rebuild {ongoing.id} began: --abandon it, and start another"
        )
    return ongoing


async def _begin(connection: Connection, request: RebuildRequest) -> Rebuild:
    async with connection.transaction():
        ongoing = await ledger.insert_rebuild(
            connection, request.names, migrations=len(list_migrations(generation.COMPONENT))
        )
        _, path = await generation.live_schema(connection)
        await generation.make_tables(connection, ongoing, request.tables)
        await generation.look_in(connection, path)
        await generation.keep_indexes(connection, ongoing)
    return ongoing


async def _catch_up(connection: Connection, building: Building, request: RebuildRequest, near: int) -> None:
    """Fold until the live projections are at most `near` positions ahead."""
    while True:
        targets = await ledger.read_checkpoints(connection, request.names)
        await building.fold_up_to(targets)
        if building.count_behind(await ledger.read_checkpoints(connection, request.names)) <= near:
            return


async def _compare(
    conninfo: str, building: Building, ongoing: Rebuild, request: RebuildRequest, live: str, settings: RebuildSettings
) -> tuple[ProjectionReport, ...]:
    """Compare every table at the position of a snapshot of the live ones."""
    patient = _patient(conninfo, settings.statement_timeout_ms)
    async with open_connection(patient) as former, open_connection(patient) as new:
        await former.execute(IDLE, [str(settings.statement_timeout_ms)])
        if request.gives_way:
            await former.execute(ONE_PROCESS)
            await new.execute(ONE_PROCESS)
        await former.execute(SNAPSHOT)
        stands = await ledger.read_checkpoints(former, request.names)
        await building.fold_up_to(stands, Phase.COMPARING)
        building.report(Phase.COMPARING, building.position)
        await new.execute(SNAPSHOT)
        sides = Sides(
            former=former, former_schema=live, new=new, new_schema=ongoing.schema, at_once=not request.gives_way
        )
        reports: list[ProjectionReport] = []
        for projection in request.projections:
            tables = [await compare(sides, table, samples=settings.sampled_differences) for table in projection.tables]
            reports.append(
                ProjectionReport(projection=projection.name, compared_at=stands[projection.name], tables=tuple(tables))
            )
        return tuple(reports)


async def _swap_when_possible(
    connection: Connection,
    ongoing: Rebuild,
    building: Building,
    request: RebuildRequest,
    live: str,
    settings: RebuildSettings,
) -> dict[str, int]:
    for _ in range(settings.swap_tries):
        await _catch_up(connection, building, request, settings.near_events)
        building.report(Phase.SWAPPING, building.position)
        try:
            return await swap(connection, ongoing, building, request.tables, live, settings)
        except SwapPostponed:
            await asyncio.sleep(settings.swap_pause_seconds)
    raise RebuildRefused(f"the live tables could not be locked in {settings.swap_tries} tries: --resume to try again")
