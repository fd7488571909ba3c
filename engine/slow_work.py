"""Slow work: what authors' queries and templates take long over is done beside the loop, so that everybody goes on.

500 steps whose queries each took a second held the engine, its lease and the gateway beside it for minutes.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from domain.expressions_budget import Budget, TooMuchWork

T = TypeVar("T")


class SlowWork:
    """Does what is quick at once, and what is not on a thread, one after the other. The work must change nothing."""

    def __init__(self) -> None:
        """Make ready; the thread begins with the first slow work."""
        self._thread = ThreadPoolExecutor(1, "slow-work")

    async def done(self, work: Callable[[Budget], T]) -> T:
        """Do the work, again where it was not quick. Raises TooMuchWork, and what the work raises."""
        try:
            return work(Budget.quick())
        except TooMuchWork:
            return await self.beside(lambda: work(Budget()))

    async def beside(self, work: Callable[[], T]) -> T:
        """Do work that is known to be slow. Raises what the work raises."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
