"""Law of the feed: under any schedule of a bus, it returns exactly the facts of the log."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg

from bus.cloudevents import encode_envelope
from bus.feed import Feed
from bus.nats.consumer import FactConsumer
from bus.nats.publisher import POSITION
from bus.settings import FeedSettings
from store.log.identity import create_identity
from store.log.log import Log
from store.log.records import Recorded
from tests.support.bus.memory_log import IDENTITY, STREAM, MemoryLog, create_stored
from tests.support.projections.given import run_in_background
from tests.support.store.given import drop_weights


class CommitElsewhere(Struct, frozen=True):
    """Another process commits; the relay publishes it, once it gets to it."""

    count: int


class CommitHere(Struct, frozen=True):
    """This process commits; its feed is notified immediately, or after other commits."""

    count: int
    late: bool


class RecordOutside(Struct, frozen=True):
    """An outside library records an event that is not a fact."""


class Deliver(Struct, frozen=True):
    """NATS delivers what is under way at a place, and forgets it or will deliver it again."""

    place: int
    again: bool


class Lose(Struct, frozen=True):
    """NATS loses what is under way at a place."""

    place: int


class Restart(Struct, frozen=True):
    """NATS is lost with all messages in flight, and returns; the client subscribes again."""


class Republish(Struct, frozen=True):
    """A relay that had not saved its cursor publishes so much again."""

    count: int


class Announce(Struct, frozen=True):
    """PostgreSQL notifies of an outdated head."""

    ago: int


class Garble(Struct, frozen=True):
    """A foreign publisher sends an invalid envelope, or one of another log, as the next position."""

    foreign: bool


class Turn(Struct, frozen=True):
    """Time passes."""

    turns: int


Action = CommitElsewhere | CommitHere | RecordOutside | Deliver | Lose | Restart | Republish | Announce | Garble | Turn
places = st.integers(0, 6)
actions: st.SearchStrategy[Action] = st.one_of(
    st.builds(CommitElsewhere, st.integers(1, 4)),
    st.builds(CommitHere, st.integers(1, 3), st.booleans()),
    st.builds(RecordOutside),
    st.builds(Deliver, places, st.booleans()),
    st.builds(Deliver, st.just(0), st.just(value=False)),  # NATS as it mostly is: in order, and once
    st.builds(Lose, places),
    st.builds(Restart),
    st.builds(Republish, st.integers(1, 8)),
    st.builds(Announce, st.integers(0, 3)),
    st.builds(Garble, st.booleans()),
    st.builds(Turn, st.integers(1, 12)),
)


class Simulator:
    """Runs a schedule on a real feed and a real consumer, over a log in memory."""

    def __init__(self, turns: Sequence[int], *, buffered: int, page: int, patient: bool) -> None:
        """Create the feed and the consumer; log reads pause for `turns` loop turns, repeated in a cycle."""
        self._turns = turns
        self._read = 0
        self.log = MemoryLog(self._next_turns)
        bounds = FeedSettings(buffer_events=buffered, page_events=page, poll_seconds=1_000)
        self.feed = Feed(cast("Log", self.log), bounds)
        self.feed.delay_fetch(lambda: 0.0005 if patient else 0.0)
        self.carrying = FactConsumer(IDENTITY, self.feed, 1_000)
        self.under_way: list[Msg] = []
        self.published: list[Msg] = []
        self.untold: list[list[Recorded]] = []
        self.highest = -1

    def _next_turns(self) -> int:
        self._read += 1
        return self._turns[self._read % len(self._turns)]

    def publish(self, recorded: Sequence[Recorded]) -> None:
        messages = [
            create_message(event.position, encode_envelope(IDENTITY, create_stored(event))) for event in recorded
        ]
        self.published += messages
        self.under_way += messages

    async def run_action(self, action: Action) -> None:
        match action:
            case CommitElsewhere(count):
                self.publish(self.log.commit(count))
            case CommitHere(count, late):
                recorded = self.log.commit(count)
                self.publish(recorded)
                self.untold.append(recorded)
                if not late:
                    self.tell_here()
            case RecordOutside():
                self.log.commit(1, opaque=True)
            case Deliver() | Lose() | Restart() | Republish() | Garble():
                await self.carry(action)
            case Announce(ago):
                self.feed.announce(max(0, self.log.position - ago))
            case Turn(turns):
                for _ in range(turns):
                    await asyncio.sleep(0)

    async def carry(self, action: Deliver | Lose | Restart | Republish | Garble) -> None:
        match action:
            case Deliver(place, again) if place < len(self.under_way):
                delivered = self.under_way[place] if again else self.under_way.pop(place)
                await self.deliver(delivered)
            case Lose(place) if place < len(self.under_way):
                del self.under_way[place]
            case Restart():
                self.under_way.clear()
                self.feed.wake()
            case Republish(count):
                self.under_way += self.published[-count:]
            case Garble(foreign):
                other = create_identity(STREAM) if foreign else IDENTITY
                fact = (
                    encode_envelope(other, create_stored(self.log.facts[-1]))
                    if foreign and self.log.facts
                    else b"\xff{}"
                )
                await self.deliver(create_message(self.feed.through + 1, fact))
            case _:
                pass

    async def deliver(self, delivered: Msg) -> None:
        await self.carrying._receive(delivered)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # what NATS calls

    def tell_here(self) -> None:
        """Notify the feed of this process's own commits, in order."""
        for recorded in self.untold:
            self.log.notify_commit(recorded)
        self.untold.clear()

    def check(self) -> None:
        """Assert that the feed never goes back, and never past the head."""
        assert self.highest <= self.feed.through <= self.log.position
        self.highest = self.feed.through


def create_message(position: int, payload: bytes) -> Msg:
    return Msg(Client(), "callsheet.v1.w.p.project.renamed", "", payload, {POSITION: str(position)})


class Reader:
    """Collects what the feed returns, page by page."""

    def __init__(self, feed: Feed, limit: int, pause: int) -> None:
        """Start at the position of the feed; wait `pause` loop turns before each page."""
        self._feed = feed
        self._limit = limit
        self._pause = pause
        self.after = feed.through
        self.came: list[Recorded] = []

    async def run(self) -> None:
        while True:
            for _ in range(self._pause):
                await asyncio.sleep(0)
            page = await self._feed.read(self.after, self._limit)
            assert page.through > self.after
            self.came += page.events
            self.after = page.through


async def test_a_fact_that_is_not_the_next_has_the_log_read_at_once() -> None:
    simulator = Simulator([0], buffered=8, page=3, patient=False)
    async with run_in_background(simulator.feed.run()):
        await simulator.feed.wait_past(-1)
        simulator.publish(simulator.log.commit(5))
        await simulator.deliver(simulator.under_way[3])
        async with asyncio.timeout(5):
            await simulator.feed.wait_past(4)
    assert simulator.carrying.carried == 0


async def test_what_is_next_is_taken_and_the_log_is_not_read_for_it() -> None:
    simulator = Simulator([0], buffered=8, page=3, patient=False)
    async with run_in_background(simulator.feed.run()):
        await simulator.feed.wait_past(-1)
        simulator.publish(simulator.log.commit(5))
        for delivered in simulator.under_way:
            await simulator.deliver(delivered)
        async with asyncio.timeout(5):
            await simulator.feed.wait_past(4)
    assert simulator.carrying.carried == 5


async def run_schedule(simulator: Simulator, schedule: Sequence[Action], before: int, limits: Sequence[int]) -> None:
    simulator.log.commit(before)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(run_in_background(simulator.feed.run()))
        await simulator.feed.wait_past(-1)
        readers = [Reader(simulator.feed, limit, pause) for limit in limits for pause in (0, 9)]
        for reader in readers:
            await stack.enter_async_context(run_in_background(reader.run()))
        for action in schedule:
            await simulator.run_action(action)
            simulator.check()
        simulator.tell_here()
        simulator.feed.wake()  # as the poll would
        async with asyncio.timeout(5):
            while any(reader.after < simulator.log.position for reader in readers):  # noqa: ASYNC110  # turns, not time
                await asyncio.sleep(0)
        simulator.check()
        for reader in readers:
            assert drop_weights(reader.came) == [event for event in simulator.log.facts if event.position > before]


schedules = st.lists(actions, max_size=40)
pauses = st.lists(st.integers(0, 6), min_size=1, max_size=5)


def check_schedule(schedule: list[Action], turns: list[int], before: int, *, patient: bool) -> None:
    simulator = Simulator(turns, buffered=8, page=3, patient=patient)
    asyncio.run(run_schedule(simulator, schedule, before, limits=(1, 5, 100)))


@given(schedule=schedules, turns=pauses, before=st.integers(0, 3), patient=st.booleans())
@settings(max_examples=1_000, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_the_bus_does_the_feed_gives_the_log(
    schedule: list[Action], turns: list[int], before: int, *, patient: bool
) -> None:
    check_schedule(schedule, turns, before, patient=patient)


@pytest.mark.long
@given(schedule=schedules, turns=pauses, before=st.integers(0, 3), patient=st.booleans())
@settings(max_examples=5_000, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_the_bus_does_for_long_the_feed_gives_the_log(
    schedule: list[Action], turns: list[int], before: int, *, patient: bool
) -> None:
    check_schedule(schedule, turns, before, patient=patient)
