"""Set-up shared by the tests of rebuilds: traffic of every kind, all projections, and rebuilding them."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from psycopg.sql import SQL, Identifier

from callsheet.wiring.projections import PROJECTIONS
from domain.asset import AssetContentRevised, AssetCreated, AssetType
from domain.fact import Fact
from domain.graphs.graph import Graph, TransformNode
from domain.graphs.stored import write_stored_graph
from domain.payload import Payload
from domain.project import ProjectCreated, ProjectRenamed
from domain.runs.facts import (
    Pins,
    RunCompleted,
    RunStarted,
    StepCompleted,
    StepDecided,
    StepStarted,
    StepWaiting,
    WaitFor,
)
from domain.workflow import WorkflowCreated, WorkflowRenamed
from projections.rebuild.bounds import Progress
from projections.rebuild.rebuilding import RebuildRequest, rebuild
from projections.rebuild.report import RebuildReport
from projections.runtime.projection import Projection
from projections.settings import RebuildSettings
from tests.support.projections.given import NOW, Harness, new_id

BOUNDS: Final = RebuildSettings(page_events=50, swap_pause_seconds=0.05)
TABLES: Final = tuple(table for make in PROJECTIONS.values() for table in make().tables)


def create_projections(*names: str) -> tuple[Projection, ...]:
    """Create the projections of these names, or all."""
    return tuple(PROJECTIONS[name]() for name in names or PROJECTIONS)


def ignore_progress(_progress: Progress) -> None:
    """Discard the progress of a rebuild."""


async def run_rebuild(
    database: str,
    projections: Sequence[Projection],
    *,
    resume: bool = False,
    bounds: RebuildSettings = BOUNDS,
    on_progress: Callable[[Progress], None] = ignore_progress,
) -> RebuildReport:
    wanted = RebuildRequest(projections=tuple(projections), resume=resume)
    return await rebuild(database, wanted, bounds, on_progress, lambda: datetime.now(UTC))


def create_run_facts(workflow: UUID, *, ended: bool) -> tuple[Fact, ...]:
    """Return the facts of a run with a human step, decided only if `ended`."""
    begun: tuple[Fact, ...] = (
        RunStarted(workflow_id=workflow, workflow_version=1, inputs=Payload(), pins=Pins(), started_at=NOW),
        StepStarted(node="a", attempt=1, executor="e", epoch=1, started_at=NOW),
        StepCompleted(node="a", attempt=1, output=Payload(value={"text": "hello"}), completed_at=NOW),
        StepStarted(node="b", attempt=1, executor="e", epoch=1, started_at=NOW),
        StepWaiting(node="b", attempt=1, waiting_for=WaitFor.HUMAN, until=NOW, assignees=("ada",), waiting_since=NOW),
    )
    if not ended:
        return begun
    return (
        *begun,
        StepDecided(node="b", outcome="yes", data=Payload(), decided_by="ada", shown_hash=None, decided_at=NOW),
        StepCompleted(node="b", attempt=1, output=Payload(value="yes"), completed_at=NOW),
        RunCompleted(output_nodes=("b",), completed_at=NOW),
    )


async def append_traffic(harness: Harness, runs: int) -> int:
    """Append facts of every noun. Returns the last position."""
    project, workflow, asset = new_id(), new_id(), new_id()
    await harness.append_facts(project, ProjectCreated(name="Launch", owner="ada"), ProjectRenamed(name="Start"))
    graph = write_stored_graph(Graph(nodes=(TransformNode(id="a"),)))
    await harness.append_facts(workflow, WorkflowCreated(name="Draft", graph=graph))
    created = AssetCreated(type=AssetType.PROMPT, label="Tone", metadata={}, content=Payload(value="warm"))
    await harness.append_facts(asset, created, AssetContentRevised(version=2, content=Payload(value="cold")))
    for number in range(runs):
        facts = create_run_facts(workflow, ended=number % 3 != 0)
        run = new_id()
        await harness.append_facts(run, *facts[:3])
        await harness.append_facts(run, *facts[3:], after=3)
    last = await harness.append_facts(workflow, WorkflowRenamed(name="Final"), after=1)
    return last[-1].position


async def read_rows(harness: Harness, table: str, schema: str = "public") -> list[str]:
    """Return every row of a table as text, in order."""
    async with harness.models.connection() as connection:
        cursor = await connection.execute(SQL("select t::text from {} t order by 1").format(Identifier(schema, table)))
        return [row[0] for row in await cursor.fetchall()]


async def read_all_rows(harness: Harness, schema: str = "public") -> dict[str, list[str]]:
    """Return every row of every table of the read models."""
    return {table: await read_rows(harness, table, schema) for table in TABLES}
