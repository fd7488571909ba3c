"""Turns at a provider: so many calls at once, so many of them of one workspace, and who waits is called in fair order.

The workspaces that wait are called round robin, one call each, so that a busy one delays another's call by no more
than one turn. A turn ends with its call, and calls are bounded in time, so everybody's turn comes.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from uuid import UUID

from domain.graphs.graph import ErrorClass
from engine.providers.provider import ModelRequest, ModelResponse, Provider, ProviderFault
from engine.round_robin import RoundRobin


class CallLimiter:
    """Gives turns at one provider, on one event loop.

    While fewer calls than allowed are under way, only workspaces that have all of theirs under way wait.
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
    async def turn(self, workspace_id: UUID) -> AsyncGenerator[None]:
        """Have a turn for as long as the block lasts. Raises ProviderFault when too many of the workspace wait."""
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
            raise ProviderFault(ErrorClass.OVERLOADED, "too many calls of this workspace wait for the model provider")
        called = asyncio.get_running_loop().create_future()
        self._waiting.put(workspace_id, called)
        try:
            await called
        except asyncio.CancelledError:
            if called.done() and not called.cancelled():  # the turn had come: the next one takes it
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
        """Call the first of the next workspace that may call: one turn has ended, so one begins."""
        while (found := self._waiting.take(self._may_call)) is not None:
            workspace_id, called = found
            if called.cancelled():
                continue  # whoever waited was cancelled a moment ago, and has not come to leave the line
            self._begin(workspace_id)
            called.set_result(None)
            return


class LimitedProvider:
    """A provider that is asked in turns."""

    def __init__(self, provider: Provider, turns: CallLimiter) -> None:
        """Take the provider, and who gives the turns at it."""
        self._provider = provider
        self._turns = turns

    async def complete(self, ask: ModelRequest, on_delta: Callable[[str], None]) -> ModelResponse:
        """Wait for a turn and ask, as Provider says. The ask's time begins with its turn."""
        async with self._turns.turn(ask.workspace_id):
            return await self._provider.complete(ask, on_delta)

    async def close(self) -> None:
        """Close the provider."""
        await self._provider.close()
