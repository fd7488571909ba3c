"""Turns at a provider: its bounds hold, and a busy workspace delays another's call by no more than one turn."""

import asyncio
from collections import Counter
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.graphs.graph import ErrorClass
from engine.providers.call_limiter import CallLimiter, LimitedProvider
from engine.providers.provider import ModelRequest, ProviderFault
from engine.providers.scripted import Scripted

BUSY, SMALL, THIRD = (UUID(int=number) for number in (1, 2, 3))


def turns(calls: int = 1, of_one: int = 100, waiting: int = 1_000) -> CallLimiter:
    return CallLimiter(calls=calls, calls_per_workspace=of_one, waiting_per_workspace=waiting)


class Floor:
    """Calls that end when they are told to, in the order in which their turns came."""

    def __init__(self, turns: CallLimiter) -> None:
        """Create it over the limiter whose slots the calls take."""
        self._turns = turns
        self.began: list[UUID] = []
        self.most = Counter[UUID]()
        self._open: list[tuple[UUID, asyncio.Event]] = []
        self.calls: list[asyncio.Task[None]] = []

    async def call(self, *workspaces: UUID) -> list[asyncio.Task[None]]:
        new = [asyncio.create_task(self._call(workspace)) for workspace in workspaces]
        self.calls += new
        await let_tasks_settle()
        return new

    async def _call(self, workspace: UUID) -> None:
        async with self._turns.slot(workspace):
            ends = asyncio.Event()
            self.began.append(workspace)
            self._open.append((workspace, ends))
            now = Counter(workspace for workspace, _ in self._open)
            self.most |= now
            await ends.wait()

    @property
    def under_way(self) -> list[UUID]:
        return [workspace for workspace, _ in self._open]

    async def end(self, place: int = 0) -> None:
        """End one of the calls that are under way."""
        self._open.pop(place)[1].set()
        await let_tasks_settle()

    async def end_all(self) -> None:
        while self._open:
            await self.end()
        await asyncio.gather(*self.calls)


async def let_tasks_settle() -> None:
    """Yield to the event loop until every task waits: none here waits for time or for the network."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_call_waits_no_more_than_one_turn_behind_a_workspace_with_a_hundred() -> None:
    floor = Floor(turns())
    await floor.call(*[BUSY] * 101)
    await floor.call(SMALL)
    await floor.end()
    await floor.end()
    assert floor.began == [BUSY, BUSY, SMALL]
    await floor.end_all()
    assert floor.began.count(BUSY) == 101


async def test_workspaces_are_called_one_after_the_other() -> None:
    floor = Floor(turns())
    await floor.call(*[BUSY] * 5, *[SMALL] * 2, *[THIRD] * 3)
    await floor.end_all()
    assert floor.began == [BUSY, BUSY, SMALL, THIRD, BUSY, SMALL, THIRD, BUSY, THIRD, BUSY]


async def test_a_workspace_has_no_more_than_its_share_though_nobody_else_calls() -> None:
    floor = Floor(turns(calls=10, of_one=2))
    await floor.call(*[BUSY] * 4, SMALL)
    assert floor.under_way == [BUSY, BUSY, SMALL]
    await floor.end(2)
    assert floor.under_way == [BUSY, BUSY]
    await floor.end()
    assert floor.under_way == [BUSY, BUSY]
    await floor.end_all()


async def test_one_more_than_may_wait_is_overload_of_its_own_workspace_only() -> None:
    gate = turns(waiting=2)
    floor = Floor(gate)
    await floor.call(*[BUSY] * 3)
    with pytest.raises(ProviderFault) as caught:
        async with gate.slot(BUSY):
            pytest.fail("there was no turn")
    assert caught.value.error_class is ErrorClass.OVERLOADED
    await floor.call(SMALL)
    await floor.end_all()
    assert floor.began == [BUSY, BUSY, SMALL, BUSY]


async def test_who_stops_waiting_leaves_the_line() -> None:
    floor = Floor(turns())
    await floor.call(BUSY)
    (waits,) = await floor.call(SMALL)
    await floor.call(THIRD)
    waits.cancel()
    await let_tasks_settle()
    await floor.end()
    assert floor.under_way == [THIRD]
    floor.calls.remove(waits)
    await floor.end_all()


@pytest.mark.parametrize("the_turn_has_come", [False, True])
async def test_the_turn_of_a_call_that_is_cancelled_as_it_comes_goes_to_the_next(*, the_turn_has_come: bool) -> None:
    gate = turns()
    floor = Floor(gate)
    async with gate.slot(BUSY):
        (waits,) = await floor.call(SMALL)
        await floor.call(THIRD)
        floor.calls.remove(waits)
        if not the_turn_has_come:
            waits.cancel()
    if the_turn_has_come:
        waits.cancel()
    await let_tasks_settle()
    assert waits.cancelled()
    assert floor.began == [THIRD]
    await floor.end_all()


async def test_a_call_that_fails_ends_its_turn() -> None:
    gate = turns()
    for _ in range(3):
        with pytest.raises(LookupError):
            async with gate.slot(BUSY):
                raise LookupError


@given(st.lists(st.one_of(st.sampled_from([BUSY, SMALL, THIRD]), st.integers(0, 5)), max_size=60))
def test_bounds_hold_and_every_call_is_made_whatever_happens(steps: list[UUID | int]) -> None:
    async def play() -> None:
        floor = Floor(turns(calls=3, of_one=2))
        for step in steps:
            if isinstance(step, UUID):
                await floor.call(step)
            elif step < len(floor.under_way):
                await floor.end(step)
            assert len(floor.under_way) <= 3
        await floor.end_all()
        assert len(floor.began) == len(floor.calls)
        assert all(most <= 2 for most in floor.most.values())

    asyncio.run(play())


async def test_a_provider_that_takes_turns_answers_as_it_would_without() -> None:
    asked = ModelRequest(model="x", prompt="Hello", idempotency_token="t", timeout_seconds=1, workspace_id=BUSY)  # noqa: S106  # a token that repeats, no secret
    said: list[str] = []
    answer = await LimitedProvider(Scripted(), turns()).complete(asked, said.append)
    assert answer == await Scripted().complete(asked, lambda _text: None)
    assert "".join(said) == answer.text
