"""Retries: how long they wait, when they start over, and what ends them."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.errors import QueueFull, Unavailable
from store.retrying import BackOff, BackOffBounds, Retrying, join_reasons


class Delays:
    """A sleep that takes no time and records what was asked of it."""

    def __init__(self) -> None:
        """Start with none."""
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await asyncio.sleep(0)


class Flaky:
    """Work that raises each of some exceptions once, and then returns how often it was called."""

    def __init__(self, *faults: Exception) -> None:
        """Queue the exceptions to raise."""
        self.calls = 0
        self._faults = list(faults)

    async def __call__(self) -> int:
        self.calls += 1
        if self._faults:
            raise self._faults.pop(0)
        return self.calls


def back_off(delays: Delays) -> BackOff:
    return BackOff(BackOffBounds(first_seconds=1, longest_seconds=6), jitter=lambda: 1.0, sleep=delays)


def away(number: int = 0) -> Unavailable:
    return Unavailable(f"away {number}")


@given(failures=st.integers(1, 10**9), jitter=st.floats(0, 1))
def test_a_delay_is_never_zero_and_never_over_the_bound(failures: int, jitter: float) -> None:
    bounds = BackOffBounds()
    waiting = BackOff(bounds, jitter=lambda: jitter)
    waiting.failures = failures
    assert bounds.first_seconds / 2 <= waiting.delay_seconds <= bounds.longest_seconds


async def test_each_failure_in_a_row_doubles_the_delay_up_to_the_bound() -> None:
    delays = Delays()
    assert await Retrying(Unavailable, back_off=back_off(delays)).call(Flaky(*map(away, range(5)))) == 6
    assert delays.seconds == [1, 2, 4, 6, 6]


async def test_jitter_takes_up_to_half_of_the_delay() -> None:
    delays = Delays()
    waiting = BackOff(BackOffBounds(first_seconds=1), jitter=lambda: 0.0, sleep=delays)
    await Retrying(Unavailable, back_off=waiting).call(Flaky(away()))
    assert delays.seconds == [0.5]


async def test_a_success_ends_the_loop_without_a_wait() -> None:
    delays, entered = Delays(), 0
    async for attempt in Retrying(Unavailable, back_off=back_off(delays)):
        with attempt:
            entered += 1
    assert (entered, delays.seconds) == (1, [])


async def test_a_reset_within_an_attempt_makes_its_failure_the_first() -> None:
    delays, entered = Delays(), 0
    async for attempt in Retrying(Unavailable, back_off=back_off(delays)):
        with attempt:
            entered += 1
            if entered == 3:
                attempt.reset()
            if entered < 6:
                raise away()
    assert delays.seconds == [1, 2, 1, 2, 4]


async def test_a_failure_after_a_steady_time_is_the_first() -> None:
    delays, entered = Delays(), 0
    async for attempt in Retrying(Unavailable, back_off=back_off(delays), steady_seconds=0):
        with attempt:
            entered += 1
            if entered < 4:
                raise away()
    assert delays.seconds == [1, 1, 1]


async def test_a_failure_before_a_steady_time_adds_up() -> None:
    delays = Delays()
    await Retrying(Unavailable, back_off=back_off(delays), steady_seconds=3600).call(Flaky(away(), away()))
    assert delays.seconds == [1, 2]


async def test_failures_are_reported_with_their_number_in_a_row() -> None:
    reported: list[tuple[str, int]] = []
    retrying = Retrying(
        Unavailable,
        back_off=back_off(Delays()),
        on_failure=lambda fault, failures: reported.append((str(fault), failures)),
    )
    await retrying.call(Flaky(away(1), away(2)))
    assert reported == [("away 1", 1), ("away 2", 2)]


async def test_another_exception_ends_the_loop() -> None:
    work = Flaky(away(), KeyError("a bug"))
    with pytest.raises(KeyError, match="a bug"):
        await Retrying(Unavailable, back_off=back_off(Delays())).call(work)
    assert work.calls == 2


async def test_a_subclass_and_each_of_several_types_is_retried() -> None:
    faults = (QueueFull("full"), TimeoutError(), away())
    assert await Retrying(Unavailable, TimeoutError, back_off=back_off(Delays())).call(Flaky(*faults)) == 4


async def test_a_group_is_retried_when_it_holds_nothing_else() -> None:
    group = ExceptionGroup("serving", [away(1), ExceptionGroup("nested", [away(2)])])
    assert await Retrying(Unavailable, back_off=back_off(Delays())).call(Flaky(group)) == 2


async def test_a_group_that_holds_a_bug_ends_the_loop_whole() -> None:
    group = ExceptionGroup("serving", [away(), KeyError("a bug")])
    with pytest.raises(ExceptionGroup) as ended:
        await Retrying(Unavailable, back_off=back_off(Delays())).call(Flaky(group))
    assert ended.value is group


async def test_cancellation_ends_an_attempt_and_a_wait() -> None:
    waits = asyncio.Event()

    async def sleep(_seconds: float) -> None:
        waits.set()
        await asyncio.Event().wait()

    work = Flaky(away())
    waiting = asyncio.create_task(Retrying(Unavailable, back_off=BackOff(sleep=sleep)).call(work))
    await waits.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert work.calls == 1
    attempting = asyncio.create_task(Retrying(Unavailable).call(asyncio.Event().wait))
    await asyncio.sleep(0)
    attempting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempting


async def test_an_instance_that_serves_another_loop_starts_over() -> None:
    delays = Delays()
    retrying = Retrying(Unavailable, back_off=back_off(delays))
    await retrying.call(Flaky(away(), away()))
    await retrying.call(Flaky(away()))
    assert delays.seconds == [1, 2, 1]


async def test_a_back_off_alone_counts_failures_that_are_no_exceptions() -> None:
    delays = Delays()
    waiting = back_off(delays)
    await waiting.fail()
    await waiting.fail()
    waiting.reset()
    await waiting.fail()
    assert (delays.seconds, waiting.failures) == ([1, 2, 1], 1)


def test_the_reasons_of_a_group_are_joined() -> None:
    assert join_reasons(ExceptionGroup("serving", [away(1), TimeoutError()])) == "away 1; TimeoutError()"
    assert join_reasons(away(3)) == "away 3"
