"""Deltas of model responses for the followers of a run: passed on at once and stored nowhere."""

from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

from msgspec import Struct

MOST_UNTAKEN: Final = 1_000


class Delta(Struct, frozen=True, kw_only=True):
    """A piece of a model's response, of one attempt of a step."""

    node: str
    attempt: int
    text: str


class DeltaFollower:
    """Buffer deltas for one follower. A full buffer drops the oldest and counts them."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """Create an empty buffer; `wake` is called for every delta."""
        self._wake = wake
        self._untaken: deque[Delta] = deque(maxlen=MOST_UNTAKEN)
        self._dropped = 0

    def add(self, delta: Delta) -> None:
        """Append a delta."""
        self._dropped += len(self._untaken) == MOST_UNTAKEN
        self._untaken.append(delta)
        self._wake()

    def take(self) -> tuple[int, list[Delta]]:
        """Remove and return the number of dropped deltas, and the deltas after them."""
        dropped, self._dropped = self._dropped, 0
        taken = list(self._untaken)
        self._untaken.clear()
        return dropped, taken


class DeltaHub:
    """Pass deltas to the followers of their run on one event loop; a carrier takes them to other processes."""

    def __init__(self) -> None:
        """Create a hub without followers and without a carrier."""
        self._followers: dict[UUID, set[DeltaFollower]] = {}
        self._on_delta: Callable[[UUID, Delta], None] | None = None
        self._on_followed: Callable[[], None] | None = None

    @property
    def followed_runs(self) -> frozenset[UUID]:
        """Return the runs that have a follower in this process."""
        return frozenset(self._followers)

    def carry(self, *, told: Callable[[UUID, Delta], None], followed: Callable[[], None]) -> None:
        """Register a carrier: callbacks for every delta of this process, and for every change of the followed runs."""
        self._on_delta = told
        self._on_followed = followed

    def publish(self, run_id: UUID, delta: Delta) -> None:
        """Pass a delta of this process to all followers; without any it is dropped."""
        if self._on_delta is not None:
            self._on_delta(run_id, delta)
        self.deliver(run_id, delta)

    def sender(self, run_id: UUID, *, node: str, attempt: int) -> Callable[[str], None]:
        """Return a function that publishes the pieces of one attempt's response, if the run has a follower."""

        def send(text: str) -> None:
            if self._on_delta is not None or run_id in self._followers:
                self.publish(run_id, Delta(node=node, attempt=attempt, text=text))

        return send

    def deliver(self, run_id: UUID, delta: Delta) -> None:
        """Pass a delta of any process to the followers in this one."""
        for follower in self._followers.get(run_id, ()):
            follower.add(delta)

    @contextmanager
    def follow(self, run_id: UUID, wake: Callable[[], None]) -> Generator[DeltaFollower]:
        """Yield a follower that receives the deltas of a run from now on."""
        follower = DeltaFollower(wake)
        self._followers.setdefault(run_id, set()).add(follower)
        self._report_followed()
        try:
            yield follower
        finally:
            self._followers[run_id].discard(follower)
            if not self._followers[run_id]:
                del self._followers[run_id]
                self._report_followed()

    def _report_followed(self) -> None:
        if self._on_followed is not None:
            self._on_followed()
