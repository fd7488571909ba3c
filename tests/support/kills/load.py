"""Runs for engines to be killed at, and the killing."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Final
from uuid import UUID

from tests.support.kills.environment import WAIT_SECONDS, Environment

SEATS: Final = 2
"""So many engines are at work at a time: the runs of a dead one fall to the other, or to the one that comes next."""
NEW_RUNS: Final = 2
ENOUGH_RUNS: Final = 8
PASSED_MOST: Final = 4
PAUSE_SECONDS: Final = 1.0


@dataclass
class Load:
    """Runs of one workflow, each with a name of its own, and with a list of `items` for a workflow that maps."""

    here: Environment
    workflow: UUID
    items: list[str]
    runs: dict[UUID, str] = field(default_factory=dict[UUID, str])
    begun: int = 0

    async def more(self) -> None:
        """Begin some, unless there are enough for the engines to come by."""
        if len(await self.open()) >= ENOUGH_RUNS:
            return
        for _ in range(NEW_RUNS):
            name = f"{self.workflow.hex[-6:]}.{self.begun}"
            self.begun += 1
            run = await self.here.start(self.workflow, {"name": name, "list": self.items})
            self.runs[run] = name

    async def open(self) -> list[UUID]:
        """Return the runs that have not ended."""
        return [run for run in list(self.runs) if not (await self.here.run(run)).has_ended]


async def kill(here: Environment, point: str, kills: int, more: Callable[[], Awaitable[None]]) -> None:
    """Kill engines at a failpoint, each replaced by another, until a number of them are dead; `more` creates work.

    An engine of an earlier failpoint may die meanwhile, but at that one, and does not count.
    """
    random = Random(kills)  # noqa: S311  # which time at the point is the last one
    enough = here.count_killed_at(point) + kills

    async def seat() -> None:
        while here.count_killed_at(point) < enough:
            engine = await here.engine(f"{point}:{random.randrange(PASSED_MOST)}")
            while engine.returncode is None and here.count_killed_at(point) < enough:
                await more()
                with suppress(TimeoutError):
                    async with asyncio.timeout(PAUSE_SECONDS):
                        await engine.wait()

    async with asyncio.timeout(WAIT_SECONDS + kills * 10), asyncio.TaskGroup() as group:
        for _ in range(SEATS):
            group.create_task(seat())
