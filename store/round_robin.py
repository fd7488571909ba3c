"""Round robin between workspaces: each one with queued items is served one item per round."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, KeysView
from typing import Generic, TypeVar
from uuid import UUID

T = TypeVar("T", bound=Hashable)


def _any_workspace(_workspace_id: UUID) -> bool:
    return True


class RoundRobin(Generic[T]):
    """One queue a workspace. `enqueue`, `take` and `remove` take constant time, however many items are queued.

    A new workspace is added at the end, and a workspace that was served moves to the end.
    """

    def __init__(self) -> None:
        """Create empty queues."""
        # In the order in which the workspaces are served next; no queue in it is empty.
        self._queues: OrderedDict[UUID, OrderedDict[T, None]] = OrderedDict()

    def __bool__(self) -> bool:
        """Return whether any item is queued."""
        return bool(self._queues)

    @property
    def workspaces(self) -> KeysView[UUID]:
        """Return the workspaces with queued items."""
        return self._queues.keys()

    def waiting(self, workspace_id: UUID) -> int:
        """Return how many items of a workspace are queued."""
        return len(self._queues.get(workspace_id, ()))

    def enqueue(self, workspace_id: UUID, item: T) -> None:
        """Append an item to its workspace's queue; an item that is queued already keeps its place."""
        self._queues.setdefault(workspace_id, OrderedDict()).setdefault(item)

    def remove(self, workspace_id: UUID, item: T) -> None:
        """Remove an item from its queue if it is still there; no workspace loses a turn."""
        queue = self._queues.get(workspace_id)
        if queue is None or item not in queue:
            return
        del queue[item]
        if not queue:
            del self._queues[workspace_id]

    def take(self, is_allowed: Callable[[UUID], bool] = _any_workspace) -> tuple[UUID, T] | None:
        """Remove and return the first item of the next allowed workspace; others keep their places before it."""
        workspace_id = next((each for each in self._queues if is_allowed(each)), None)
        if workspace_id is None:
            return None
        queue = self._queues[workspace_id]
        item, _ = queue.popitem(last=False)
        if queue:
            self._queues.move_to_end(workspace_id)
        else:
            del self._queues[workspace_id]
        return workspace_id, item
