"""Limit the concurrent calls of a provider, in total and per workspace, with a fair queue.

Waiting workspaces are served round robin, one call each, so that a busy workspace delays a call of another by at most
one turn. Calls have a timeout, so every queued call starts eventually.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from uuid import UUID

from domain.graphs.graph import ErrorClass
from engine.providers.provider import ModelRequest, ModelResponse, Provider, ProviderFault
from store.round_robin import RoundRobin


class CallLimiter:
    """Limits concurrent calls of one provider, on one event loop.

    While the total limit is not reached, only workspaces at their own limit wait.
    """

    def __init__(self, *, calls: int, calls_per_workspace: int, waiting_per_workspace: int) -> None:
        """Create it with no calls in progress and none waiting."""
        self._calls_max = calls
        self._calls_per_workspace_max = calls_per_workspace
        self._waiting_per_workspace_max = waiting_per_workspace
        self._calling: Counter[UUID] = Counter()
        self._calls = 0
        self._waiting: RoundRobin[asyncio.Future[None]] = RoundRobin()

    @asynccontextmanager
    async def slot(self, workspace_id: UUID) -> AsyncGenerator[None]:
        """Hold a slot within the block. Raises ProviderFault if the workspace has too many calls waiting."""
        if self._may_call(workspace_id):
            self._begin(workspace_id)
        else:
            await self._wait(workspace_id)
        try:
            yield
        finally:
            self._end(workspace_id)

    async def _wait(self, workspace_id: UUID) -> None:
        if self._waiting.waiting(workspace_id) >= self._waiting_per_workspace_max:
            raise ProviderFault(
                ErrorClass.OVERLOADED,
                f"Too many calls of this workspace are waiting. Limit: {self._waiting_per_workspace_max}",
            )
        called = asyncio.get_running_loop().create_future()
        self._waiting.enqueue(workspace_id, called)
        try:
            await called
        except asyncio.CancelledError:
            if called.done() and not called.cancelled():  # the slot was granted already: pass it on
                self._end(workspace_id)
            else:
                self._waiting.remove(workspace_id, called)
            raise

    def _may_call(self, workspace_id: UUID) -> bool:
        return self._calls < self._calls_max and self._calling[workspace_id] < self._calls_per_workspace_max

    def _begin(self, workspace_id: UUID) -> None:
        self._calls += 1
        self._calling[workspace_id] += 1

    def _end(self, workspace_id: UUID) -> None:
        self._calls -= 1
        self._calling[workspace_id] -= 1
        if not self._calling[workspace_id]:
            del self._calling[workspace_id]
        self._call_next()

    def _call_next(self) -> None:
        """Grant the free slot to the next workspace that may call."""
        while (found := self._waiting.take(self._may_call)) is not None:
            workspace_id, called = found
            if called.cancelled():
                continue  # cancelled; its task has not left the queue yet
            self._begin(workspace_id)
            called.set_result(None)
            return


class LimitedProvider:
    """A provider whose calls wait for a slot."""

    def __init__(self, provider: Provider, limiter: CallLimiter) -> None:
        """Wrap a provider with a limiter."""
        self._provider = provider
        self._limiter = limiter

    async def complete(self, request: ModelRequest, on_delta: Callable[[str], None]) -> ModelResponse:
        """Wait for a slot, then call the provider. The request's timeout starts with the slot."""
        async with self._limiter.slot(request.workspace_id):
            return await self._provider.complete(request, on_delta)

    async def close(self) -> None:
        """Close the provider."""
        await self._provider.close()
