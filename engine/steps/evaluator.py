"""Evaluate authors' queries and templates without blocking the event loop: slow ones run in a worker process.

500 steps whose queries took a second each blocked the engine, its leases and the gateway in its process for minutes.
In a thread they still shared the interpreter with the loop, and nothing could end them.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast
from uuid import UUID

from domain.expressions.budget import Budget, TooMuchWork
from store.workers.pool import WorkerPool
from store.workers.process import WorkStopped

T = TypeVar("T")


class Evaluator:
    """Evaluates quick work inline, and slow work in a worker. Work must be picklable and without side effects."""

    def __init__(self, pool: WorkerPool) -> None:
        """Create it over the workers of the process."""
        self._pool = pool

    async def evaluate(self, workspace_id: UUID, work: Callable[[Budget], T]) -> T:
        """Evaluate inline, and again in a worker if that exceeds the inline budget.

        Raises what the work raises, TooMuchWork.
        """
        try:
            return work(Budget.inline())
        except TooMuchWork:
            return await self.run_in_worker(workspace_id, cast("Callable[[], T]", partial(_spend_whole_budget, work)))

    async def run_in_worker(self, workspace_id: UUID, work: Callable[[], T]) -> T:
        """Evaluate in a worker. Raises what the work raises, TooMuchWork if it is stopped."""
        try:
            return await self._pool.run(workspace_id, work)
        except WorkStopped as stopped:
            raise TooMuchWork(f"The expressions of this step do too much work with this data. {stopped}") from stopped


def _spend_whole_budget(work: Callable[[Budget], Any]) -> Any:  # noqa: ANN401  # whatever the work returns
    return work(Budget())
