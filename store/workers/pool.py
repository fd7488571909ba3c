"""A few worker processes for work of authors and callers that would hold the event loop.

Work is a picklable call without side effects. A worker that exceeds its time is killed, and the next piece of work
starts another one. Workspaces take turns, and none of them can occupy every worker.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final, Self, TypeVar
from uuid import UUID

from store.round_robin import RoundRobin
from store.settings import WorkSettings
from store.workers.process import WorkerProcess, WorkStopped

T = TypeVar("T")
WALL_FACTOR: Final = 6
"""How much longer work may take than its CPU time: workers share processors, at a lower priority."""


class WorkerPool:
    """Evaluates work in child processes, which start when the first work arrives.

    The queue needs no limit of its own: each request and each running step has at most one entry.
    """

    def __init__(self, settings: WorkSettings) -> None:
        """Create a pool without processes."""
        self._settings = settings
        self._idle: list[WorkerProcess] = []
        self._waiting: RoundRobin[asyncio.Future[None]] = RoundRobin()
        self._busy: Counter[UUID] = Counter()
        self.stopped_count = 0

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: WorkSettings) -> AsyncGenerator[Self]:
        """Hold a pool open for the length of a block, and end its processes."""
        pool = cls(settings)
        try:
            yield pool
        finally:
            await pool.close()

    async def run(self, workspace_id: UUID, work: Callable[[], T]) -> T:
        """Return what a picklable call returns, and raise what it raises; WorkStopped if it exceeds time or memory."""
        await self._wait_for_turn(workspace_id)
        try:
            return await self._run_in_worker(work)
        finally:
            self._busy[workspace_id] -= 1
            self._start_next()

    async def close(self) -> None:
        """End the idle processes; busy ones are killed when their work is cancelled."""
        idle, self._idle = self._idle, []
        for worker in idle:
            await worker.kill()

    async def _run_in_worker(self, work: Callable[[], T]) -> T:
        worker = self._idle.pop() if self._idle else await self._start_worker()
        try:
            async with asyncio.timeout(WALL_FACTOR * self._settings.seconds_max):
                return await worker.evaluate(work)
        except TimeoutError:
            seconds = WALL_FACTOR * self._settings.seconds_max
            raise WorkStopped(f"The work was stopped because it takes more than {seconds:g} seconds.") from None
        finally:
            if worker.is_usable:
                self._idle.append(worker)
            else:
                self.stopped_count += 1
                await asyncio.shield(worker.kill())

    async def _start_worker(self) -> WorkerProcess:
        settings = self._settings
        return await WorkerProcess.start(
            memory_bytes_max=settings.memory_bytes_max, cpu_seconds_max=settings.seconds_max
        )

    def _is_allowed(self, workspace_id: UUID) -> bool:
        """Return whether a workspace may occupy one more worker: the last one is for others, if there are several."""
        return self._busy[workspace_id] < max(1, self._settings.processes - 1)

    async def _wait_for_turn(self, workspace_id: UUID) -> None:
        if self._busy.total() < self._settings.processes and self._is_allowed(workspace_id):
            self._busy[workspace_id] += 1
            return
        called = asyncio.get_running_loop().create_future()
        self._waiting.enqueue(workspace_id, called)
        try:
            await called
        except asyncio.CancelledError:
            self._waiting.remove(workspace_id, called)
            if not called.cancelled():  # the turn was granted already: pass it on
                self._busy[workspace_id] -= 1
                self._start_next()
            raise

    def _start_next(self) -> None:
        self._busy += Counter()  # drops workspaces without work
        while self._busy.total() < self._settings.processes:
            found = self._waiting.take(self._is_allowed)
            if found is None:
                return
            workspace_id, called = found
            if not called.cancelled():  # else cancelled, and its task has not left the queue yet
                self._busy[workspace_id] += 1
                called.set_result(None)
