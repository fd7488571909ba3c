"""Fold the log into the tables of a generation, for one or several projections."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import AsyncConnection

from domain.fact import get_topic
from projections.rebuild.bounds import Phase, Progress, Tell
from projections.rebuild.exclusions import ExclusionTracker
from projections.rebuild.faults import RebuildPoisoned, RebuildRefused
from projections.rebuild.ledger import MOVE, Rebuild, build_move
from projections.rebuild.pages import LogPages
from projections.runtime.apply import apply, find_poison, is_poisonous
from projections.runtime.projection import Projection, Unfoldable
from projections.settings import RebuildSettings
from store.log.records import Page, Recorded

Batch = tuple[Projection, list[Recorded]]


class Building:
    """Advance a rebuild. The search path of its connection finds the generation's tables first."""

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
        """Create it; `events_per_second` limits its rate, to leave capacity for others."""
        self._connection = writing
        self._rebuild = rebuild
        self._projections = projections
        self._tell = tell
        self._rate = events_per_second
        page_events = settings.page_events
        if events_per_second is not None:
            # Two pages a second: an even load, and a run is written once or twice instead of once every few facts.
            page_events = max(1, min(page_events, int(events_per_second / 2)))
        wanted = sorted({get_topic(kind) for projection in projections for kind in projection.wants})
        self._exclusions = ExclusionTracker(rebuild, projections)
        self._try_seconds = settings.statement_timeout_ms / 1_000
        self._pages = LogPages(reading, wanted, page_events=page_events, ahead=events_per_second is None)
        self.events = 0

    @property
    def position(self) -> int:
        """Return the position of the projection that is furthest behind."""
        return min(self._rebuild.positions.values())

    def count_behind(self, targets: Mapping[str, int]) -> int:
        """Return the largest number of positions that a projection has left to its target."""
        return max(targets[name] - position for name, position in self._rebuild.positions.items())

    def report(self, phase: Phase, target: int) -> None:
        """Report the progress."""
        self._tell(Progress(phase=phase, position=self.position, target=target, events=self.events))

    async def fold_up_to(self, targets: Mapping[str, int], phase: Phase = Phase.FOLDING) -> None:
        """Fold the log for each projection up to exactly its target."""
        target = max(targets.values())
        if all(targets[name] <= position for name, position in self._rebuild.positions.items()):
            return
        async with self._pages.between(self.position, target) as pages:
            async for page in pages:
                begun = time.monotonic()
                await self._take(page, targets)
                self.report(phase, target)
                await self._pause(len(page.events), time.monotonic() - begun)

    async def refresh_exclusions(self) -> None:
        """Load changed exclusions of the live projections. Raises RebuildRefused if one changed behind it."""
        await self._exclusions.refresh(self._connection)

    async def _take(self, page: Page, targets: Mapping[str, int]) -> None:
        """Fold a page: rows and positions are committed in one transaction."""
        await self.refresh_exclusions()
        positions = self._rebuild.positions
        moved = {name: max(position, min(page.through, targets[name])) for name, position in positions.items()}
        batches = [
            (projection, self._batch(projection.name, page, moved[projection.name])) for projection in self._projections
        ]
        try:
            await self._write(batches, moved)
        except Exception as fault:
            self.forget_state()
            if is_poisonous(fault) and not isinstance(fault, RebuildRefused | RebuildPoisoned):
                await self._name_poison(batches, fault)
            raise
        except BaseException:
            self.forget_state()
            raise
        self.events += len(page.events)

    def _batch(self, name: str, page: Page, through: int) -> list[Recorded]:
        facts = self._exclusions.filters[name].select(page.events, self._rebuild.positions[name])
        return facts if through >= page.through else [fact for fact in facts if fact.position <= through]

    async def _write(self, batches: Sequence[Batch], moved: dict[str, int]) -> None:
        rebuild, left_out = self._rebuild, self._exclusions.list_up_to(moved)
        # Pipelined like a worker's batch; `projections/runtime/commit.py` says why a row is awaited.
        async with self._connection.pipeline(), self._connection.transaction():
            for projection, facts in batches:
                try:
                    await apply(projection, self._connection.cursor(binary=True), facts)
                except Unfoldable as poison:
                    raise RebuildPoisoned(f"{projection.name}: {poison}") from poison
            cursor = self._connection.cursor(binary=True)
            await cursor.execute(MOVE, build_move(rebuild, moved, left_out), prepare=True)
            if await cursor.fetchone() is None:
                raise RebuildRefused(f"rebuild {rebuild.id} was moved or ended by another process")
        rebuild.positions, rebuild.exclusions = moved, left_out

    async def _name_poison(self, batches: Sequence[Batch], fault: Exception) -> None:
        """Find the poison fact, and raise RebuildPoisoned if there is one."""
        for projection, facts in batches:
            poison = await find_poison(self._connection, projection, facts, fault, try_seconds=self._try_seconds)
            if poison is not None:
                raise RebuildPoisoned(f"{projection.name}: {poison}") from fault

    async def _pause(self, events: int, took_seconds: float) -> None:
        if self._rate is not None:
            await asyncio.sleep(max(0.0, events / self._rate - took_seconds))

    def forget_state(self) -> None:
        """Clear the caches of the projections: the last applied facts may not have been committed."""
        for projection in self._projections:
            projection.forget()
