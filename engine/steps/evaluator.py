"""Evaluate authors' queries and templates without blocking the event loop: slow ones run in a thread.

500 steps whose queries took a second each blocked the engine, its leases and the gateway in its process for minutes.
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
    """Evaluates quick work inline, and slow work in one thread, round robin between workspaces.

    The queue needs no limit of its own: each step in progress has at most one entry. Work may be evaluated twice, so it
    must have no side effects.
    """

    def __init__(self) -> None:
        """Create it; the thread is started by the first slow work."""
        self._thread = ThreadPoolExecutor(1, "slow-work")
        self._waiting: RoundRobin[asyncio.Future[None]] = RoundRobin()
        self._is_busy = False

    async def evaluate(self, workspace_id: UUID, work: Callable[[Budget], T]) -> T:
        """Evaluate inline, and again in the thread if that exceeds the inline budget. Raises what the work raises."""
        try:
            return work(Budget.inline())
        except TooMuchWork:
            return await self.run_in_thread(workspace_id, lambda: work(Budget()))

    async def run_in_thread(self, workspace_id: UUID, work: Callable[[], T]) -> T:
        """Run slow work in the thread, in the workspace's turn. Raises what the work raises."""
        await self._wait_for_turn(workspace_id)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        finally:  # if cancelled, the thread still finishes this work, whose budget is limited
            self._pass_turn()

    async def _wait_for_turn(self, workspace_id: UUID) -> None:
        if not self._is_busy:
            self._is_busy = True
            return
        called = asyncio.get_running_loop().create_future()
        self._waiting.put(workspace_id, called)
        try:
            await called
        except asyncio.CancelledError:
            self._waiting.remove(workspace_id, called)
            if not called.cancelled():  # the turn was granted already: pass it on
                self._pass_turn()
            raise

    def _pass_turn(self) -> None:
        while (found := self._waiting.take()) is not None:
            called = found[1]
            if not called.cancelled():  # else cancelled, and its task has not left the queue yet
                called.set_result(None)
                return
        self._is_busy = False
