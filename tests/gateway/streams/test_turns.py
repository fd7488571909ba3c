"""Turns of replays: only so many at once, in order, and none is held by a client that does not read."""

import asyncio

import pytest

from gateway.streams import turns
from gateway.streams.turns import ReplayTurns


async def test_only_so_many_replays_have_a_turn_at_once_in_the_order_in_which_they_ask() -> None:
    replays = ReplayTurns(2)
    running: set[int] = set()
    most = 0
    order: list[int] = []

    async def replay(number: int) -> None:
        nonlocal most
        for _ in range(3):
            turn = await replays.begin()
            running.add(number)
            order.append(number)
            most = max(most, len(running))
            await asyncio.sleep(0)
            running.discard(number)
            turn.end()
            turn.end()

    await asyncio.gather(*(replay(number) for number in range(6)))
    assert most == 2
    assert order == [*range(6)] * 3, "nobody has a second turn before everybody has had a first"


async def test_a_client_that_does_not_read_gives_its_turn_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "TURN_SECONDS_MAX", 0.01)
    replays = ReplayTurns(1)
    stalled = await replays.begin()
    async with asyncio.timeout(5):
        following = await replays.begin()
    stalled.end()
    following.end()
    async with asyncio.timeout(5):
        (await replays.begin()).end()
