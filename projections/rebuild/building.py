"""Folding the log into the tables of a generation, for one or several projections at a time."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import AsyncConnection

from domain.fact import topic_of
from projections.rebuild.bounds import Phase, Progress, Tell
from projections.rebuild.faults import RebuildPoisoned, RebuildRefused
from projections.rebuild.leaving_out import LeavingOut
from projections.rebuild.ledger import MOVE, Rebuild, as_moved
from projections.rebuild.pages import LogPages
from projections.runtime.apply import apply, is_poisonous, poison_of
from projections.runtime.projection import Projection, Unfoldable
from projections.settings import RebuildSettings
from store.log.records import Page, Recorded

Batch = tuple[Projection, list[Recorded]]


class Building:
    """Takes a rebuild further. The connection that it writes over finds the generation's tables first."""

    def __init__(
        self,
        writing: AsyncConnection[Any],
        reading: AsyncConnection[Any],
        rebuild: Rebuild,
        projections: Sequence[Projection],
        settings: RebuildSettings,
        tell: Tell,
        *,
        events_per_second: float | None = None,
    ) -> None:
        """Make it; `events_per_second` holds it back, for the sake of whoever works beside it."""
        self._connection = writing
        self._rebuild = rebuild
        self._projections = projections
        self._tell = tell
        self._rate = events_per_second
        page_events = settings.page_events
        if events_per_second is not None:
            # Two pages a second: it goes on evenly, and a run is written once or twice and not with every few facts.
            page_events = max(1, min(page_events, int(events_per_second / 2)))
        wanted = sorted({topic_of(kind) for one in projections for kind in one.wants})
        self._leaving_out = LeavingOut(rebuild, projections)
        self._try_seconds = settings.statement_timeout_ms / 1_000
        self._pages = LogPages(reading, wanted, page_events=page_events, ahead=events_per_second is None)
        self.events = 0

    @property
    def position(self) -> int:
        """Give how far the projection has come that has come least far."""
        return min(self._rebuild.positions.values())

    def behind(self, targets: Mapping[str, int]) -> int:
        """Give how many positions are still to be looked at for the projection that is furthest behind its own."""
        return max(targets[name] - position for name, position in self._rebuild.positions.items())

    def told(self, phase: Phase, target: int) -> None:
        """Tell how far it is."""
        self._tell(Progress(phase=phase, position=self.position, target=target, events=self.events))

    async def up_to(self, targets: Mapping[str, int], phase: Phase = Phase.FOLDING) -> None:
        """Fold the log for each projection up to where it says, and not a fact further."""
        target = max(targets.values())
        if all(targets[name] <= position for name, position in self._rebuild.positions.items()):
            return
        async with self._pages.between(self.position, target) as pages:
            async for page in pages:
                begun = time.monotonic()
                await self._take(page, targets)
                self.told(phase, target)
                await self._pause(len(page.events), time.monotonic() - begun)

    async def look(self) -> None:
        """See what the live projections leave out now. Raises RebuildRefused where that was changed behind us."""
        await self._leaving_out.look(self._connection)

    async def _take(self, page: Page, targets: Mapping[str, int]) -> None:
        """Fold a page: rows and positions move in one transaction."""
        await self.look()
        positions = self._rebuild.positions
        moved = {name: max(position, min(page.through, targets[name])) for name, position in positions.items()}
        batches = [(one, self._batch(one.name, page, moved[one.name])) for one in self._projections]
        try:
            await self._write(batches, moved)
        except Exception as fault:
            self.forget()
            if is_poisonous(fault) and not isinstance(fault, RebuildRefused | RebuildPoisoned):
                await self._name_poison(batches, fault)
            raise
        except BaseException:
            self.forget()
            raise
        self.events += len(page.events)

    def _batch(self, name: str, page: Page, through: int) -> list[Recorded]:
        facts = self._leaving_out.sieves[name].take(page.events, self._rebuild.positions[name])
        return facts if through >= page.through else [one for one in facts if one.position <= through]

    async def _write(self, batches: Sequence[Batch], moved: dict[str, int]) -> None:
        rebuild, left_out = self._rebuild, self._leaving_out.obeyed(moved)
        # Pipelined as a worker's batch is; see `projections/runtime/commit.py` for the row that is waited for.
        async with self._connection.pipeline(), self._connection.transaction():
            for projection, facts in batches:
                try:
                    await apply(projection, self._connection.cursor(binary=True), facts)
                except Unfoldable as poison:
                    raise RebuildPoisoned(f"{projection.name}: {poison}") from poison
            cursor = self._connection.cursor(binary=True)
            await cursor.execute(MOVE, as_moved(rebuild, moved, left_out), prepare=True)
            if await cursor.fetchone() is None:
                raise RebuildRefused(f"rebuild {rebuild.id} was moved or ended by somebody else")
        rebuild.positions, rebuild.left_out = moved, left_out

    async def _name_poison(self, batches: Sequence[Batch], fault: Exception) -> None:
        """Find the fact that is at fault. Raises RebuildPoisoned where there is one."""
        for projection, facts in batches:
            poison = await poison_of(self._connection, projection, facts, fault, try_seconds=self._try_seconds)
            if poison is not None:
                raise RebuildPoisoned(f"{projection.name}: {poison}") from fault

    async def _pause(self, events: int, took_seconds: float) -> None:
        if self._rate is not None:
            await asyncio.sleep(max(0.0, events / self._rate - took_seconds))

    def forget(self) -> None:
        """Let the projections remember nothing: what they applied last may not have been committed."""
        for projection in self._projections:
            projection.forget()
