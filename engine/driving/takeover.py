"""Takeover: each engine looks again and again for unfinished runs that nobody has in hand, and goes on with them."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from random import Random
from typing import Final
from uuid import UUID

import structlog

from engine.cluster.leases import Leases, Left
from engine.cluster.membership import Membership
from engine.driving.active_runs import Runs
from engine.settings import EngineSettings
from store.errors import Unavailable

PAGE_RUNS: Final = 200
FIRST_ID: Final = UUID(int=0)
LEFT_WAITING_SECONDS: Final = 10.0
"""The look at all runs that wait is dear: one that had to leave some out for want of places is made again so late."""


class Takeover:
    """Keeps an engine among the others, and takes over what those that are gone have left."""

    def __init__(
        self,
        membership: Membership,
        leases: Leases,
        runs: Runs,
        settings: EngineSettings,
        random: Random,
        *,
        on_gone: Callable[[], None],
    ) -> None:
        """Make it for one membership; `on_gone` is told when an engine has gone, and at the start."""
        self._membership = membership
        self._leases = leases
        self._runs = runs
        self._settings = settings
        self._random = random
        self._on_gone = on_gone
        self._gone = asyncio.Event()
        self._now = asyncio.get_running_loop().time
        self._left_waiting_until = math.inf

    async def keep_alive(self) -> None:
        """Renew the membership at every heartbeat. Raises MembershipLost, OperationalError."""
        while True:
            await asyncio.sleep(self._settings.heartbeat_seconds)
            if await self._membership.beat():
                self._gone.set()

    async def run(self) -> None:
        """Look about as often, at once when an engine has gone, and at the start."""
        self._gone.set()
        while True:
            wide = self._gone.is_set()
            self._gone.clear()
            try:
                await self._look(wide=wide)
            except Unavailable as away:
                structlog.get_logger("engine").warning("engine.takeover_delayed", reason=str(away))
                if wide:
                    self._gone.set()
                await asyncio.sleep(self._settings.heartbeat_seconds)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.heartbeat_seconds * self._random.uniform(0.8, 1.2)):
                    await self._gone.wait()

    async def _look(self, *, wide: bool) -> None:
        # What a lone engine has not in hand nobody has: when it begins, or is left alone, it need not wait.
        grace_seconds = 0.0 if wide and self._membership.is_alone else self._settings.takeover_grace_seconds
        if wide:
            await self._end()  # first, for those need not wait for places
        await self._take(partial(self._leases.abandoned, grace_seconds=grace_seconds))
        if wide:
            self._on_gone()
        if wide or self._left_waiting_until <= self._now():
            all_taken = await self._take(self._leases.abandoned_waiting)
            self._left_waiting_until = math.inf if all_taken else self._now() + LEFT_WAITING_SECONDS

    async def _end(self) -> None:
        """End the runs that somebody wants to end, page by page."""
        after = FIRST_ID
        while page := await self._leases.abandoned_ending(after=after, limit=PAGE_RUNS):
            ours = await self._leases.take(left.run_id for left in page)
            for left in page:
                if left.run_id in ours:
                    self._runs.end(left.run_id, left.workspace_id, 0)
            after = page[-1].run_id

    async def _take(self, read: Callable[..., Awaitable[list[Left]]]) -> bool:
        """Take over what a query finds, page by page; false when some were left out.

        Workspaces of which something waits for a place are left out, so that nobody's runs stand behind theirs. One
        that has nothing in the lines joins them, however full the engine is: it is waited for as for one that begins.
        """
        places = self._runs.places
        after = FIRST_ID
        while True:
            beside = list(places.in_line)
            page = await read(beside=beside, after=after, limit=PAGE_RUNS)
            found = [left for left in page if left.workspace_id not in places.in_line]
            ours = await self._leases.take(left.run_id for left in found) if found else set[UUID]()
            for left in found:
                if left.run_id in ours:
                    self._runs.go_on_with(left.run_id, left.workspace_id)
            if len(page) < PAGE_RUNS:
                return not beside and len(found) == len(page)
            after = page[-1].run_id
