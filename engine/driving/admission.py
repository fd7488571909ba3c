"""Admission: how many runs an engine drives at once, and which of those that are queued is next.

A workspace may have up to three times as many active runs as slots are free (dynamic thresholds; Choudhury and Hahne,
"Dynamic queue length thresholds for shared-memory packet switches", 1998). Alone it gets three quarters of all slots,
two busy workspaces get three sevenths each, and a workspace that is new finds some free. Queued runs are admitted
round robin between workspaces. The queue is bounded and shared in the same way; runs beyond it stay in the log.
"""

from collections import Counter
from collections.abc import KeysView
from typing import Final
from uuid import UUID

from msgspec import Struct

from store.log.records import Recorded
from store.round_robin import RoundRobin

SHARE: Final = 3
"""A workspace may have this many times as many slots as are free."""


class DueRun(Struct, frozen=True):
    """A run to be driven. `run` is its first fact as read from the feed, or its id if it must be read from the log."""

    run_id: UUID
    workspace_id: UUID
    run: UUID | Recorded


class AdmissionQueue:
    """Slots for active runs and a queue for as many more.

    The queue may exceed its bound by one run of each workspace, so that each gets its turn, and by runs that people
    have acted on.
    """

    def __init__(self, slots: int) -> None:
        """Start with every slot free and nothing queued."""
        self._slots = slots
        self._active: dict[UUID, UUID] = {}  # the workspace of each active run
        self._active_counts: Counter[UUID] = Counter()
        self._due: dict[UUID, DueRun] = {}
        self._queued: RoundRobin[UUID] = RoundRobin()

    @property
    def queued_count(self) -> int:
        """Return how many runs are queued."""
        return len(self._due)

    def active_count(self, workspace_id: UUID) -> int:
        """Return how many runs of a workspace are active."""
        return self._active_counts[workspace_id]

    def is_queued(self, run_id: UUID) -> bool:
        """Return whether a run is queued."""
        return run_id in self._due

    def activate(self, run_id: UUID, workspace_id: UUID) -> None:
        """Occupy a slot for a run."""
        self._active[run_id] = workspace_id
        self._active_counts[workspace_id] += 1

    def release(self, run_id: UUID) -> None:
        """Free the slot of a run."""
        workspace_id = self._active.pop(run_id)
        self._active_counts[workspace_id] -= 1
        if not self._active_counts[workspace_id]:
            del self._active_counts[workspace_id]

    def enqueue(self, due: DueRun) -> None:
        """Queue a run behind those of its workspace; one that is queued already keeps its place."""
        self._due[due.run_id] = due
        self._queued.enqueue(due.workspace_id, due.run_id)

    def withdraw(self, run_id: UUID) -> bool:
        """Remove a run from the queue; return whether it was queued."""
        due = self._due.pop(run_id, None)
        if due is not None:
            self._queued.remove(due.workspace_id, run_id)
        return due is not None

    def pop_next(self) -> DueRun | None:
        """Remove and return the queued run that may have a slot now, or None."""
        if not self._due or not self.has_free_slot or (found := self._queued.take(self._may_activate)) is None:
            return None
        return self._due.pop(found[1])

    @property
    def has_free_slot(self) -> bool:
        """Return whether any slot is free."""
        return len(self._active) < self._slots

    def admits_at_once(self, workspace_id: UUID) -> bool:
        """Return whether a run of a workspace need not be queued."""
        return not self._queued.waiting(workspace_id) and self._may_activate(workspace_id)

    @property
    def queued_workspaces(self) -> KeysView[UUID]:
        """Return the workspaces that have queued runs."""
        return self._queued.workspaces

    def has_room(self, workspace_id: UUID) -> bool:
        """Return whether one more run of a workspace may be queued: the first of each always may."""
        queued = self._queued.waiting(workspace_id)
        return not queued or queued < SHARE * self._room

    def has_room_to_spare(self, workspace_id: UUID) -> bool:
        """Return whether at most half of a workspace's room is taken, so that reading on in the log pays off."""
        queued = self._queued.waiting(workspace_id)
        return not queued or 2 * queued < SHARE * self._room

    @property
    def _room(self) -> int:
        return self._slots - len(self._due)

    def _may_activate(self, workspace_id: UUID) -> bool:
        return self._active_counts[workspace_id] < SHARE * (self._slots - len(self._active))
