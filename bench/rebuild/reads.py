"""Readers beside a rebuild: one run after another by its id, at a steady pace, and how long each took."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from uuid import UUID

from bench.harness.figures import percentile
from projections.read_models.runs_view import RunsView
from projections.runtime.read_pool import ReadModels
from projections.settings import ProjectionSettings

READS_PER_SECOND = 100
KNOWN = "select id, workspace_id from runs order by id limit 5000"


class Readers:
    """Reads until stopped; `p99_ms` is of what was read since the last time it was asked."""

    def __init__(self, models: ReadModels, known: list[tuple[UUID, UUID]]) -> None:
        """Create it without samples."""
        self._view = RunsView(models)
        self._known = known
        self._took_ms: list[float] = []

    async def run(self) -> None:
        """Read until cancelled, each read at its own moment, whether the last has ended or not."""
        chance = random.Random(1)  # noqa: S311  # figures
        async with asyncio.TaskGroup() as group:
            while True:
                run, workspace = chance.choice(self._known)
                group.create_task(self._read(workspace, run))
                await asyncio.sleep(1 / READS_PER_SECOND)

    async def _read(self, workspace: UUID, run: UUID) -> None:
        begun = time.perf_counter()
        if await self._view.get(workspace, run) is None:
            raise LookupError(f"run {run} is gone")
        self._took_ms.append((time.perf_counter() - begun) * 1_000)

    def p99_ms(self) -> float:
        """Return the p99 of the reads since the last call."""
        took, self._took_ms = sorted(self._took_ms), []
        return round(percentile(took, 99), 3)


@asynccontextmanager
async def reading(conninfo: str) -> AsyncGenerator[Readers]:
    """Run readers until the end of the block."""
    models = ReadModels(conninfo, ProjectionSettings())
    async with models.open():
        async with models.connection() as connection:
            known = [(row[0], row[1]) for row in await (await connection.execute(KNOWN)).fetchall()]
        readers = Readers(models, known)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(readers.run())
            yield readers
            task.cancel()
