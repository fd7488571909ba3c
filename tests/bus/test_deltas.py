"""Deltas: passed on to those who follow the run, bounded for each of them, and kept nowhere."""

from uuid import UUID

from bus.deltas import MOST_UNTAKEN, Delta, DeltaHub

RUN, OTHER = UUID(int=1), UUID(int=2)


def create_delta(number: int = 1) -> Delta:
    return Delta(node="a", attempt=1, text=str(number))


def test_every_follower_of_a_run_gets_its_deltas_and_no_others() -> None:
    hub = DeltaHub()
    woken: list[int] = []
    with hub.follow(RUN, lambda: woken.append(1)) as first, hub.follow(RUN, lambda: woken.append(2)) as second:
        hub.publish(RUN, create_delta(1))
        hub.publish(OTHER, create_delta(2))
        assert first.take() == second.take() == (0, [create_delta(1)])
        assert first.take() == (0, [])
    assert sorted(woken) == [1, 2]


def test_who_does_not_take_loses_the_oldest_and_is_told_how_many() -> None:
    hub = DeltaHub()
    with hub.follow(RUN, lambda: None) as follower:
        for number in range(MOST_UNTAKEN + 3):
            hub.publish(RUN, create_delta(number))
        dropped, taken = follower.take()
    assert dropped == 3
    assert [found.text for found in taken] == [str(number) for number in range(3, MOST_UNTAKEN + 3)]


def test_what_nobody_follows_is_gone() -> None:
    hub = DeltaHub()
    hub.publish(RUN, create_delta(1))
    with hub.follow(RUN, lambda: None) as follower:
        assert follower.take() == (0, [])
