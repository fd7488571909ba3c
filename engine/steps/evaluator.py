"""Slow work: what authors' queries and templates take long over is done beside the loop, so that everybody goes on.

500 steps whose queries each took a second held the engine, its lease and the gateway beside it for minutes.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from uuid import UUID

from domain.expressions.budget import Budget, TooMuchWork
from engine.round_robin import RoundRobin

T = TypeVar("T")


class Evaluator:
    """Does what is quick at once, and what is not on a thread, a piece of each workspace in turn.

    No more waits than is in hand: a piece for each step under way, so the nodes of a graph times the active runs.
    The work must change nothing.
    """

    def __init__(self) -> None:
        """Create it; the thread begins with the first slow work."""
        self._thread = ThreadPoolExecutor(1, "slow-work")
        self._waiting: RoundRobin[asyncio.Future[None]] = RoundRobin()
        self._is_busy = False

    async def evaluate(self, workspace_id: UUID, work: Callable[[Budget], T]) -> T:
        """Do the work, again where it was not quick. Raises TooMuchWork, and what the work raises."""
        try:
            return work(Budget.inline())
        except TooMuchWork:
            return await self.run_in_thread(workspace_id, lambda: work(Budget()))

    async def run_in_thread(self, workspace_id: UUID, work: Callable[[], T]) -> T:
        """Do work that is known to be slow, in the workspace's turn. Raises what the work raises."""
        await self._turn(workspace_id)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        finally:  # of who was cancelled the thread still ends what it has begun, which is bounded
            self._end()

    async def _turn(self, workspace_id: UUID) -> None:
        if not self._is_busy:
            self._is_busy = True
            return
        called = asyncio.get_running_loop().create_future()
        self._waiting.put(workspace_id, called)
        try:
            await called
        except asyncio.CancelledError:
            self._waiting.remove(workspace_id, called)
            if not called.cancelled():  # the turn had come: the next one takes it
                self._end()
            raise

    def _end(self) -> None:
        while (found := self._waiting.take()) is not None:
            called = found[1]
            if not called.cancelled():  # else whoever waited has not come to leave the line
                called.set_result(None)
                return
        self._is_busy = False
