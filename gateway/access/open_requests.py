"""Requests that wait for facts: they end when their credential does, or when their caller leaves the team."""

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

from msgspec import Struct

from gateway.http.rejections import Unauthenticated
from gateway.identity.caller import Caller

SECONDS_MAX: Final = 86_400.0
"""The longest that a request is held: event loops cannot count further than some weeks."""


CHALLENGE: Final = 'Bearer realm="callsheet", error="invalid_token"'
ENDED: Final = "The token or API key is not accepted any more, or its user left the team of the project."


class Stoppable(Protocol):
    """A wait for facts that can be stopped: a watch, or a tail of the log."""

    def stop(self, fault: Exception) -> None:
        """End the wait: it raises `fault`."""
        ...


class OpenRequest(Struct, frozen=True, eq=False):
    """A request that waits for facts, for a caller, in a project."""

    caller: Caller
    project_id: UUID | None
    waiting: Stoppable

    def end(self) -> None:
        """End the request: what it waits on raises Unauthenticated."""
        self.waiting.stop(Unauthenticated(ENDED, headers={"WWW-Authenticate": CHALLENGE}))


class OpenRequests:
    """Tracks the requests of this process that wait for facts."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        """Create it without requests."""
        self._clock = clock
        self._open: set[OpenRequest] = set()

    def __len__(self) -> int:
        """Return the number of requests that wait."""
        return len(self._open)

    @contextmanager
    def hold(self, caller: Caller, project_id: UUID | None, waiting: Stoppable) -> Generator[None]:
        """Stop what waits when the credential expires or is revoked, or the caller leaves the team, within a block."""
        request = OpenRequest(caller, project_id, waiting)
        remaining = min(max(0.0, caller.expires_at - self._clock().timestamp()), SECONDS_MAX)
        timer = asyncio.get_running_loop().call_later(remaining, request.end)
        self._open.add(request)
        try:
            yield
        finally:
            timer.cancel()
            self._open.discard(request)

    def end_key(self, key_id: UUID) -> None:
        """End the requests of an API key."""
        for request in self._open:
            if request.caller.key_id == key_id:
                request.end()

    def end_member(self, project_id: UUID, user_id: str) -> None:
        """End the requests in a project of a user who has left its team."""
        for request in self._open:
            caller = request.caller
            if request.project_id == project_id and caller.user_id == user_id and not caller.sees_workspace:
                request.end()
