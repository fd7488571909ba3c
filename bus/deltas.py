"""Deltas of models' answers, for whoever follows the run: passed on at once, and kept nowhere."""

from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

from msgspec import Struct

MOST_UNTAKEN: Final = 1_000


class Delta(Struct, frozen=True, kw_only=True):
    """A piece of a model's answer, of one attempt of a step."""

    node: str
    attempt: int
    text: str


class DeltaFollower:
    """Gathers deltas for one follower, up to a bound: past it the oldest go, and are counted."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """Make one that has seen nothing; `wake` is called for every delta that comes."""
        self._wake = wake
        self._untaken: deque[Delta] = deque(maxlen=MOST_UNTAKEN)
        self._dropped = 0

    def put(self, delta: Delta) -> None:
        """Keep a delta for the follower."""
        self._dropped += len(self._untaken) == MOST_UNTAKEN
        self._untaken.append(delta)
        self._wake()

    def take(self) -> tuple[int, list[Delta]]:
        """Take what there is: how many were dropped, and those that came after them."""
        dropped, self._dropped = self._dropped, 0
        taken = list(self._untaken)
        self._untaken.clear()
        return dropped, taken


class DeltaHub:
    """Passes deltas to those who follow their run, on one event loop; a carrier takes them to other processes."""

    def __init__(self) -> None:
        """Begin without followers, and without a carrier."""
        self._followers: dict[UUID, set[DeltaFollower]] = {}
        self._told: Callable[[UUID, Delta], None] | None = None
        self._followed: Callable[[], None] | None = None

    @property
    def followed(self) -> frozenset[UUID]:
        """Give the runs that somebody follows here."""
        return frozenset(self._followers)

    def carry(self, *, told: Callable[[UUID, Delta], None], followed: Callable[[], None]) -> None:
        """Say who hears of every delta of this process, and of every change in who is followed."""
        self._told = told
        self._followed = followed

    def tell(self, run_id: UUID, delta: Delta) -> None:
        """Pass a delta on; without followers it is gone."""
        if self._told is not None:
            self._told(run_id, delta)
        self.arrived(run_id, delta)

    def sender(self, run_id: UUID, *, node: str, attempt: int) -> Callable[[str], None]:
        """Return a function that passes on the pieces of one attempt's answer; a no-op while nobody follows the run."""

        def send(text: str) -> None:
            if self._told is not None or run_id in self._followers:
                self.tell(run_id, Delta(node=node, attempt=attempt, text=text))

        return send

    def arrived(self, run_id: UUID, delta: Delta) -> None:
        """Pass a delta of any process to the followers in this one."""
        for follower in self._followers.get(run_id, ()):
            follower.put(delta)

    @contextmanager
    def follow(self, run_id: UUID, wake: Callable[[], None]) -> Generator[DeltaFollower]:
        """Follow a run from now on."""
        follower = DeltaFollower(wake)
        self._followers.setdefault(run_id, set()).add(follower)
        self._changed()
        try:
            yield follower
        finally:
            self._followers[run_id].discard(follower)
            if not self._followers[run_id]:
                del self._followers[run_id]
                self._changed()

    def _changed(self) -> None:
        if self._followed is not None:
            self._followed()
