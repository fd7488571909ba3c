"""Admission of new runs: bounds on how many a workspace has under way, and on how many it begins a minute.

What is begun a minute is leased from the database in portions of a hundredth, so that all processes together never
exceed the bound, and the way of a run costs no statement. What is under way is counted in the read model, and again
when a twentieth of the bound was begun since; close to the bound the count waits for the read model. Processes that
begin runs at the same moment may exceed it by what they have in progress.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Final
from uuid import UUID

from msgspec import Struct

from domain.runs.refusals import TooManyRuns
from projections.runtime.checkpoints import Checkpoints, ProjectionBehind
from projections.runtime.read_pool import ReadModels
from store.log.log import Log
from store.lru import LruCache
from store.settings import RunSettings

LEASE: Final = "select leased, seconds_left from lease_runs(%(workspace)b, %(wanted)b, %(most)b)"
"""Lease some of the runs that a workspace may begin in this minute."""

COUNT: Final = """
select count(*)
  from (select
          from runs
         where workspace_id = %(workspace)b
           and status in ('queued', 'running', 'waiting')
         limit %(limit)b) as under_way
"""
"""Count the runs that a workspace has under way, up to a limit."""

WORKSPACES_CACHED: Final = 10_000
PORTIONS: Final = 100
"""A process leases a hundredth of what a workspace may begin a minute."""
RECOUNTED_SHARE: Final = 20
RECOUNTED_SECONDS: Final = 10.0
CAUGHT_UP_SECONDS: Final = 1.0
REFUSED_SECONDS: Final = 0.5
"""How long a workspace at its bound is refused without counting again."""


class Known(Struct):
    """Knowledge of one workspace: its lease, and the count of its runs under way with those begun since.

    `carried` began before the count, and may not have been in it: the read model lags.
    """

    lock: asyncio.Lock
    leased: int = 0
    leased_until: float = 0.0
    counted: int = 0
    counted_at: float = -RECOUNTED_SECONDS
    since: int = 0
    carried: int = 0


class RunAdmission:
    """Admits new runs of workspaces within their bounds."""

    def __init__(
        self,
        log: Log,
        models: ReadModels,
        checkpoints: Checkpoints,
        bounds: RunSettings,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Create it for one process."""
        self._log = log
        self._models = models
        self._checkpoints = checkpoints
        self._bounds = bounds
        self._clock = clock
        self._known = LruCache[int, Known](WORKSPACES_CACHED)

    async def admit(self, workspace_id: UUID, *, begun: int = 1, under_way: int = 1) -> None:
        """Admit runs that are begun next. Raises TooManyRuns, with the bound; Unavailable."""
        known = self._known.get(workspace_id.int)
        if known is None:
            known = Known(asyncio.Lock())
            self._known.put(workspace_id.int, known)
        if not self._has_leased(known, begun) or not self._is_within(known, under_way):
            async with known.lock:
                await self._lease(known, workspace_id, begun)
                await self._count(known, workspace_id, under_way)
        known.leased -= begun
        known.since += under_way

    def _has_leased(self, known: Known, begun: int) -> bool:
        return known.leased >= begun and self._clock() < known.leased_until

    async def _lease(self, known: Known, workspace_id: UUID, begun: int) -> None:
        if self._has_leased(known, begun):
            return
        if self._clock() >= known.leased_until:
            known.leased = 0
        most = self._bounds.workspace_begun_a_minute
        wanted = max(begun - known.leased, most // PORTIONS, 1)
        row = await self._log.sessions.one(LEASE, {"workspace": workspace_id, "wanted": wanted, "most": most})
        if row is not None:
            known.leased += row[0]
            known.leased_until = self._clock() + row[1]
        if known.leased < begun:
            raise TooManyRuns(
                f"The workspace may begin {most:,} runs a minute (CALLSHEET_RUNS_WORKSPACE_BEGUN_A_MINUTE). Wait for "
                "the next minute."
            )

    def _is_within(self, known: Known, under_way: int) -> bool:
        """Return whether a count that is fresh enough has room for more."""
        most = self._bounds.workspace_under_way
        if self._clock() - known.counted_at > RECOUNTED_SECONDS or known.since > most // RECOUNTED_SHARE:
            return not under_way
        return known.counted + known.carried + known.since + under_way <= most

    async def _count(self, known: Known, workspace_id: UUID, under_way: int) -> None:
        if self._is_within(known, under_way):
            return
        most = self._bounds.workspace_under_way
        if known.counted + under_way > most and self._clock() - known.counted_at < REFUSED_SECONDS:
            raise _refuse(most)
        since = known.since
        await self._read_count(known, workspace_id)
        known.carried = since
        if known.counted + under_way > most:
            raise _refuse(most)
        if known.counted + known.carried + under_way <= most:
            return
        # So close to the bound what the read model has not folded yet decides.
        head, _ = await self._log.head()
        with suppress(ProjectionBehind):
            await self._checkpoints.wait_for("runs", head, CAUGHT_UP_SECONDS)
        await self._read_count(known, workspace_id)
        known.carried = 0
        if known.counted + under_way > most:
            raise _refuse(most)

    async def _read_count(self, known: Known, workspace_id: UUID) -> None:
        limit = self._bounds.workspace_under_way + 1
        row = await self._models.first(COUNT, {"workspace": workspace_id, "limit": limit})
        known.counted = 0 if row is None else row[0]
        known.counted_at = self._clock()
        known.since = 0


def _refuse(most: int) -> TooManyRuns:
    return TooManyRuns(
        f"The workspace has {most:,} runs under way, and may have no more (CALLSHEET_RUNS_WORKSPACE_UNDER_WAY). Wait "
        "until some have ended."
    )
