"""Round robin between workspaces: each of those that have something waiting is served one piece in its turn."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, KeysView
from typing import Generic, TypeVar
from uuid import UUID

T = TypeVar("T", bound=Hashable)


def _anybody(_workspace_id: UUID) -> bool:
    return True


class RoundRobin(Generic[T]):
    """What waits, in a line for each workspace. To put, take and remove costs the same however much waits.

    A workspace that comes joins behind the others, and one that was served goes behind them.
    """

    def __init__(self) -> None:
        """Begin with nothing waiting."""
        # In the order in which the workspaces are served next; none is there without something waiting.
        self._lines: OrderedDict[UUID, OrderedDict[T, None]] = OrderedDict()

    def __bool__(self) -> bool:
        """Tell whether anything waits."""
        return bool(self._lines)

    @property
    def workspaces(self) -> KeysView[UUID]:
        """Give the workspaces of which something waits."""
        return self._lines.keys()

    def waiting(self, workspace_id: UUID) -> int:
        """Give how much of a workspace waits."""
        return len(self._lines.get(workspace_id, ()))

    def put(self, workspace_id: UUID, item: T) -> None:
        """Put something at the end of its workspace's line; what waits there already keeps its place."""
        self._lines.setdefault(workspace_id, OrderedDict()).setdefault(item)

    def remove(self, workspace_id: UUID, item: T) -> None:
        """Take something out of its line, wherever it stands, if it is still there; nobody loses a turn by it."""
        line = self._lines.get(workspace_id)
        if line is None or item not in line:
            return
        del line[item]
        if not line:
            del self._lines[workspace_id]

    def take(self, may: Callable[[UUID], bool] = _anybody) -> tuple[UUID, T] | None:
        """Take the first of the next workspace that may be served; those before it that may not keep their places."""
        workspace_id = next((one for one in self._lines if may(one)), None)
        if workspace_id is None:
            return None
        line = self._lines[workspace_id]
        item, _ = line.popitem(last=False)
        if line:
            self._lines.move_to_end(workspace_id)
        else:
            del self._lines[workspace_id]
        return workspace_id, item
