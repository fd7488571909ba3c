"""Read the current state of one resource: its row in the read model plus newer facts from the log."""

from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import UUID

from commands.aggregates import Noun
from domain.folded import Folded
from gateway.deps import Deps
from store.errors import UnreadableEvent

S = TypeVar("S")
FindRow = Callable[[UUID, UUID], Awaitable[Folded[S] | None]]
"""Returns the row of a workspace's resource, None if the projection has not reached it."""


async def read_current(
    deps: Deps, noun: Noun[S], workspace_id: UUID, stream_id: UUID, find_row: FindRow[S]
) -> Folded[S]:
    """Return a resource with every fact that was committed before the call. Raises the noun's not-found refusal.

    A projection may lag behind a write of this process or another. The row saves reading a long stream from its
    beginning; the log has the rest, one indexed read. A fact that cannot be read here is parked in the read model as
    well: what comes before it is returned.
    """
    row = await find_row(workspace_id, stream_id)
    try:
        current = await deps.streams.read_on(noun, stream_id, row)
    except UnreadableEvent:
        if row is None:
            raise
        current = row
    if current is None or current.workspace_id != workspace_id:
        raise noun.not_found
    return current


async def require_existing(deps: Deps, noun: Noun[S], workspace_id: UUID, stream_id: UUID) -> None:
    """Raise the noun's not-found refusal unless the workspace has the resource. What exists once exists for ever."""
    loaded = await deps.streams.load(noun, stream_id)
    if loaded is None or loaded.workspace_id != workspace_id:
        raise noun.not_found
