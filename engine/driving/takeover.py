"""Takeover: each engine looks for unfinished runs that no live engine has leased, and resumes them."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from random import Random
from typing import Final
from uuid import UUID

from engine.children.families import Families
from engine.cluster.leases import Leases
from engine.cluster.membership import Membership
from engine.driving.active_runs import ActiveRuns
from engine.settings import EngineSettings
from projections.read_models.runs_view import RunsView, UnleasedRun
from store.errors import Unavailable
from store.outage_log import OutageLog

PAGE_RUNS: Final = 200
FIRST_ID: Final = UUID(int=0)
SKIPPED_RETRY_SECONDS: Final = 10.0
"""When parents had to be skipped for lack of room, all waiting parents are read again after this time."""


class Takeover:
    """Keeps an engine's membership alive, and takes over runs of engines that are gone."""

    def __init__(
        self,
        membership: Membership,
        leases: Leases,
        active_runs: ActiveRuns,
        runs: RunsView,
        settings: EngineSettings,
        random: Random,
        *,
        on_gone: Callable[[], None],
        families: Families,
    ) -> None:
        """Work for one membership; `on_gone` is called at the start and whenever an engine has gone."""
        self._membership = membership
        self._leases = leases
        self._active_runs = active_runs
        self._runs = runs
        self._settings = settings
        self._random = random
        self._on_gone = on_gone
        self._families = families
        self._gone = asyncio.Event()
        self._now = asyncio.get_running_loop().time
        self._read_parents_at = math.inf

    async def send_heartbeats(self) -> None:
        """Renew the membership at every heartbeat. Raises MembershipLost, DatabaseAway."""
        while True:
            await asyncio.sleep(self._settings.heartbeat_seconds)
            if await self._membership.send_heartbeat():
                self._gone.set()

    async def run(self) -> None:
        """Search for runs at the start, about every heartbeat, and at once when an engine has gone."""
        outages = OutageLog("engine", lost="engine.takeover_delayed", back="engine.takeover_resumed")
        self._gone.set()
        while True:
            has_gone = self._gone.is_set()
            self._gone.clear()
            try:
                await self._take_over(has_gone=has_gone)
            except Unavailable as fault:
                outages.note_failure(str(fault))
                if has_gone:
                    self._gone.set()
                await asyncio.sleep(self._settings.heartbeat_seconds)
            else:
                outages.note_success()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.heartbeat_seconds * self._random.uniform(0.8, 1.2)):
                    await self._gone.wait()

    async def _take_over(self, *, has_gone: bool) -> None:
        # With a single engine no other engine can own the run, so no grace period is needed.
        grace_seconds = 0.0 if has_gone and self._membership.is_alone else self._settings.takeover_grace_seconds
        if has_gone:
            await self._resume_cancelled()  # first, since these bypass admission
        await self._take_pages(partial(self._runs.list_unleased_under_way, grace_seconds=grace_seconds))
        if has_gone:
            self._on_gone()
            await self._families.prune()
        if has_gone or self._read_parents_at <= self._now():
            all_taken = await self._take_pages(self._runs.list_unleased_parents)
            self._read_parents_at = math.inf if all_taken else self._now() + SKIPPED_RETRY_SECONDS

    async def _resume_cancelled(self) -> None:
        """Resume the runs with a pending cancellation, page by page."""
        after = FIRST_ID
        while page := await self._runs.list_unleased_cancelled(after=after, limit=PAGE_RUNS):
            ours = await self._leases.acquire(run.run_id for run in page)
            for run in page:
                if run.run_id in ours:
                    self._active_runs.resume_cancelled(run.run_id, run.workspace_id, 0)
            after = page[-1].run_id

    async def _take_pages(self, read: Callable[..., Awaitable[Sequence[UnleasedRun]]]) -> bool:
        """Resume the runs that a query finds, page by page; return False when some were skipped.

        Workspaces with queued runs are skipped, so that others do not wait behind them. A workspace without queued
        runs may queue its runs of a page even when the engine is full.
        """
        queue = self._active_runs.queue
        after = FIRST_ID
        while True:
            skipped_workspaces = list(queue.queued_workspaces)
            page = await read(skipped_workspaces=skipped_workspaces, after=after, limit=PAGE_RUNS)
            wanted = [run for run in page if run.workspace_id not in queue.queued_workspaces]
            ours = await self._leases.acquire(run.run_id for run in wanted) if wanted else set[UUID]()
            for run in wanted:
                if run.run_id in ours:
                    self._active_runs.resume(run.run_id, run.workspace_id)
            if len(page) < PAGE_RUNS:
                return not skipped_workspaces and len(wanted) == len(page)
            after = page[-1].run_id
