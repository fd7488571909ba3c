"""Deltas of model responses for the followers of a run: passed on at once and stored nowhere.

The process that writes an answer keeps what was written so far. A follower receives that first, so that it can join, or
come back, in the middle of an answer.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Final
from uuid import UUID

from msgspec import Struct

from bus.texts import TextKey, WrittenTexts

MOST_UNTAKEN: Final = 1_000
HELD_MAX: Final = 200
HELD_SECONDS_MAX: Final = 1.0
"""How long deltas wait for those before them, which another process was asked for."""

NO_OFFSETS: Final[Mapping[TextKey, int]] = {}


class Delta(Struct, frozen=True, kw_only=True):
    """A piece of a model's response. `offset` is the number of characters of the response before it."""

    node: str
    attempt: int
    call: int = 1
    offset: int
    text: str

    @property
    def key(self) -> TextKey:
        """Return the answer that it is a piece of."""
        return TextKey(node=self.node, attempt=self.attempt, call=self.call)


class Joining(Struct, kw_only=True):
    """The pieces of one answer as they arrive: `next` is the offset of the next one, `held` are later ones."""

    next: int
    held: list[Delta] = []
    held_since: float = 0.0

    def add(self, delta: Delta, now: float) -> Iterator[Delta]:
        """Yield the pieces that continue the answer, without what was sent before.

        Pieces behind a gap wait for a second; then they are sent, and the gap stays.
        """
        if delta.offset > self.next:
            self.held_since = self.held_since if self.held else now
            self.held.append(delta)
        else:
            yield from self._continue(delta)
            self.held.sort(key=lambda held: held.offset)
            while self.held and self.held[0].offset <= self.next:
                yield from self._continue(self.held.pop(0))
        if self.held and (now - self.held_since >= HELD_SECONDS_MAX or len(self.held) > HELD_MAX):
            held, self.held = sorted(self.held, key=lambda held: held.offset), []
            for late in held:
                self.next = max(self.next, late.offset)
                yield from self._continue(late)

    def _continue(self, delta: Delta) -> Iterator[Delta]:
        text = delta.text[self.next - delta.offset :]
        if text:
            offset, self.next = self.next, self.next + len(text)
            yield Delta(node=delta.node, attempt=delta.attempt, call=delta.call, offset=offset, text=text)


class DeltaFollower:
    """Buffer deltas for one follower, each character once and in order. A full buffer drops the oldest and counts."""

    def __init__(
        self,
        wake: Callable[[], None],
        ask: Callable[[], None],
        clock: Callable[[], float],
        offsets: Mapping[TextKey, int] = NO_OFFSETS,
    ) -> None:
        """Create an empty buffer; `wake` is called for every delta, and `ask` if one is missing.

        `offsets` says how many characters of each answer the follower has already.
        """
        self._wake = wake
        self._ask = ask
        self._clock = clock
        self._untaken: deque[Delta] = deque(maxlen=MOST_UNTAKEN)
        self._dropped = 0
        self._joining = {key: Joining(next=offset) for key, offset in offsets.items()}

    def add(self, delta: Delta) -> None:
        """Append a delta, or hold it until those before it have arrived."""
        joining = self._joining.setdefault(delta.key, Joining(next=0))
        held = len(joining.held)
        for following in joining.add(delta, self._clock()):
            self._dropped += len(self._untaken) == MOST_UNTAKEN
            self._untaken.append(following)
        if joining.held and not held:
            self._ask()
        if self._untaken:
            self._wake()

    def take(self) -> tuple[int, list[Delta]]:
        """Remove and return the number of dropped deltas, and the deltas after them."""
        dropped, self._dropped = self._dropped, 0
        taken = list(self._untaken)
        self._untaken.clear()
        return dropped, taken


class DeltaHub:
    """Pass deltas to the followers of their run on one event loop; a carrier takes them to other processes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Create a hub without followers and without a carrier."""
        self._clock = clock
        self._texts = WrittenTexts()
        self._followers: dict[UUID, set[DeltaFollower]] = {}
        self._on_delta: Callable[[UUID, Delta], None] | None = None
        self._on_followed: Callable[[UUID], None] | None = None

    @property
    def followed_runs(self) -> frozenset[UUID]:
        """Return the runs that have a follower in this process."""
        return frozenset(self._followers)

    @property
    def texts(self) -> WrittenTexts:
        """Return the answers that are being written in this process."""
        return self._texts

    def carry(self, *, send: Callable[[UUID, Delta], None], follow: Callable[[UUID], None]) -> None:
        """Register a carrier: callbacks for every delta of this process, and for each run with a change of followers.

        `follow` is also called to ask the other processes again for what was written so far.
        """
        self._on_delta = send
        self._on_followed = follow

    def publish(self, run_id: UUID, delta: Delta) -> None:
        """Pass a delta of this process to all followers; without any it is dropped."""
        if self._on_delta is not None:
            self._on_delta(run_id, delta)
        self.deliver(run_id, delta)

    def sender(self, run_id: UUID, *, node: str, attempt: int, call: int = 1) -> Callable[[str], None]:
        """Return a function that keeps and publishes the pieces of an answer, until `end_texts`."""
        key = TextKey(node=node, attempt=attempt, call=call)

        def send(text: str) -> None:
            offset = self._texts.append(run_id, key, text)
            if self._on_delta is not None or run_id in self._followers:
                self.publish(run_id, Delta(node=node, attempt=attempt, call=call, offset=offset, text=text))

        return send

    def end_texts(self, run_id: UUID, *, node: str, attempt: int) -> None:
        """Forget the answers of an attempt that has ended."""
        self._texts.end(run_id, node=node, attempt=attempt)

    def list_written(self, run_id: UUID) -> Iterator[Delta]:
        """Yield what was written so far of each answer in this process, as one delta."""
        for key, start, text in self._texts.list_texts(run_id):
            yield Delta(node=key.node, attempt=key.attempt, call=key.call, offset=start, text=text)

    def deliver(self, run_id: UUID, delta: Delta) -> None:
        """Pass a delta of any process to the followers in this one."""
        for follower in self._followers.get(run_id, ()):
            follower.add(delta)

    @contextmanager
    def follow(
        self, run_id: UUID, wake: Callable[[], None], offsets: Mapping[TextKey, int] = NO_OFFSETS
    ) -> Generator[DeltaFollower]:
        """Yield a follower that receives what was written so far of the answers of a run, and then each delta.

        `offsets` says how many characters of each answer it has already.
        """
        follower = DeltaFollower(wake, lambda: self._report_followed(run_id), self._clock, offsets)
        self._followers.setdefault(run_id, set()).add(follower)
        self._report_followed(run_id)
        for delta in self.list_written(run_id):
            follower.add(delta)
        try:
            yield follower
        finally:
            self._followers[run_id].discard(follower)
            if not self._followers[run_id]:
                del self._followers[run_id]
                self._report_followed(run_id)

    def _report_followed(self, run_id: UUID) -> None:
        if self._on_followed is not None:
            self._on_followed(run_id)
