"""Places: whose runs an engine has in hand, and which of those that wait for a place are taken next.

A workspace may have a few times as many as are free (dynamic thresholds; Choudhury and Hahne, "Dynamic queue length
thresholds for shared-memory packet switches", 1998): alone it gets three quarters of all, two busy ones get three
sevenths each, and whoever comes new finds some free. Who waits is taken in turns between the workspaces. So is the room
to wait itself, which is bounded too: for whom there is none the log keeps the runs.
"""

from collections import Counter
from collections.abc import KeysView
from typing import Final
from uuid import UUID

from msgspec import Struct

from engine.round_robin import RoundRobin
from store.log.records import Recorded

SHARE: Final = 3
"""So many times what is free a workspace may have."""


class Due(Struct, frozen=True):
    """A run that is to be driven: as its start was heard, or to be read from the log."""

    run_id: UUID
    workspace_id: UUID
    run: UUID | Recorded


class Places:
    """Counts places and keeps the lines in front of them. So many runs have one, and as many may wait.

    Beside those one of each workspace may, so that nobody is without a turn; and what people have acted on may.
    """

    def __init__(self, most: int) -> None:
        """Begin with every place free and nobody waiting."""
        self._most = most
        self._taken: dict[UUID, UUID] = {}  # the workspace of each run that has a place
        self._having: Counter[UUID] = Counter()
        self._waiting: dict[UUID, Due] = {}
        self._lines: RoundRobin[UUID] = RoundRobin()

    @property
    def waiting(self) -> int:
        """Give how many runs wait."""
        return len(self._waiting)

    def having(self, workspace_id: UUID) -> int:
        """Give how many runs of a workspace have a place."""
        return self._having[workspace_id]

    def waits(self, run_id: UUID) -> bool:
        """Tell whether a run waits."""
        return run_id in self._waiting

    def take(self, run_id: UUID, workspace_id: UUID) -> None:
        """Give a run a place."""
        self._taken[run_id] = workspace_id
        self._having[workspace_id] += 1

    def give_back(self, run_id: UUID) -> None:
        """Free the place of a run."""
        workspace_id = self._taken.pop(run_id)
        self._having[workspace_id] -= 1
        if not self._having[workspace_id]:
            del self._having[workspace_id]

    def line_up(self, due: Due) -> None:
        """Have a run wait behind those of its workspace; one that waits already keeps its turn."""
        self._waiting[due.run_id] = due
        self._lines.put(due.workspace_id, due.run_id)

    def leave(self, run_id: UUID) -> bool:
        """Have a run wait no longer; tells whether it did."""
        due = self._waiting.pop(run_id, None)
        if due is not None:
            self._lines.remove(due.workspace_id, run_id)
        return due is not None

    def next(self) -> Due | None:
        """Give the run that may have a place now, if there is one: it waits no longer."""
        if not self._waiting or not self.has_any or (found := self._lines.take(self._may_have)) is None:
            return None
        return self._waiting.pop(found[1])

    @property
    def has_any(self) -> bool:
        """Tell whether any place is free."""
        return len(self._taken) < self._most

    def has_place(self, workspace_id: UUID) -> bool:
        """Tell whether a run of a workspace would not have to wait."""
        return not self._lines.waiting(workspace_id) and self._may_have(workspace_id)

    @property
    def in_line(self) -> KeysView[UUID]:
        """Give the workspaces of which something waits."""
        return self._lines.workspaces

    def has_room(self, workspace_id: UUID) -> bool:
        """Tell whether one more run of a workspace may wait: the first of each may always."""
        waiting = self._lines.waiting(workspace_id)
        return not waiting or waiting < SHARE * self._room

    def has_room_to_spare(self, workspace_id: UUID) -> bool:
        """Tell whether no more than half of its room is taken: then it is worth while to read on in the log."""
        waiting = self._lines.waiting(workspace_id)
        return not waiting or 2 * waiting < SHARE * self._room

    @property
    def _room(self) -> int:
        return self._most - len(self._waiting)

    def _may_have(self, workspace_id: UUID) -> bool:
        return self._having[workspace_id] < SHARE * (self._most - len(self._taken))
