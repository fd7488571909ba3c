"""Admission: a busy workspace leaves slots free, waiting ones take turns, and none starves."""

from collections import Counter
from random import Random
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.driving.admission import AdmissionQueue, DueRun
from tests.support.commands.processes import new_id

ANA, BEN, CEM = UUID(int=1), UUID(int=2), UUID(int=3)


def due(workspace_id: UUID) -> DueRun:
    run_id = new_id()
    return DueRun(run_id, workspace_id, run_id)


def enqueue_runs(places: AdmissionQueue, workspace_id: UUID, runs: int) -> list[DueRun]:
    """Enqueue runs as far as there is room, and return those that get a slot."""
    begun: list[DueRun] = []
    for _ in range(runs):
        if places.has_room(workspace_id):
            places.enqueue(due(workspace_id))
            begun += fill(places)
    return begun


def fill(places: AdmissionQueue) -> list[DueRun]:
    begun: list[DueRun] = []
    while (due_run := places.pop_next()) is not None:
        places.activate(due_run.run_id, due_run.workspace_id)
        begun.append(due_run)
    return begun


@pytest.mark.parametrize(("most", "alone"), [(1, 1), (2, 2), (4, 3), (2_000, 1_500)])
def test_a_workspace_alone_gets_three_quarters_of_many_places_and_all_of_one(most: int, alone: int) -> None:
    places = AdmissionQueue(most)
    assert len(enqueue_runs(places, ANA, 2 * most)) == alone
    assert not places.admits_at_once(ANA)
    assert places.admits_at_once(BEN) is (alone < most)
    assert list(places.queued_workspaces) == [ANA]


def test_who_comes_new_finds_places_however_busy_the_others_are() -> None:
    places = AdmissionQueue(2_000)
    held = enqueue_runs(places, ANA, 5_000)
    assert len(enqueue_runs(places, BEN, 100)) == 100
    assert len(enqueue_runs(places, CEM, 50)) == 50
    for due_run in held:  # as Ana's end the others get what is their share of all
        places.release(due_run.run_id)
        fill(places)
        enqueue_runs(places, ANA, 1)
        enqueue_runs(places, BEN, 10)
    assert abs(places.active_count(ANA) - places.active_count(BEN)) <= 2
    assert places.active_count(ANA) > 700


def test_one_run_of_each_workspace_may_wait_however_many_do() -> None:
    places = AdmissionQueue(4)
    enqueue_runs(places, ANA, 3)
    for _ in range(10):  # as runs on which somebody has decided
        places.enqueue(due(ANA))
    assert (places.has_room(ANA), places.has_room_to_spare(ANA)) == (False, False)
    assert (places.has_room(BEN), places.has_room_to_spare(BEN)) == (True, True)
    assert len(enqueue_runs(places, BEN, 3)) == 1
    assert (places.queued_count, places.has_room(BEN), places.has_room_to_spare(BEN)) == (11, False, False)
    assert enqueue_runs(places, CEM, 2) == []
    assert (places.queued_count, places.has_room(CEM)) == (12, False)


def test_who_waits_is_taken_in_turns() -> None:
    places = AdmissionQueue(4)
    held = [*enqueue_runs(places, ANA, 3), *enqueue_runs(places, BEN, 1)]
    for workspace_id in (ANA, ANA, BEN, CEM):
        places.enqueue(due(workspace_id))
    assert (places.queued_count, fill(places)) == (4, [])
    taken: list[UUID] = []
    for due_run in held:
        places.release(due_run.run_id)
        taken += [begun.workspace_id for begun in fill(places)]
    assert taken == [ANA, BEN, CEM, ANA]
    assert places.queued_count == 0


def test_one_that_waits_keeps_its_turn_and_may_leave() -> None:
    places = AdmissionQueue(1)
    enqueue_runs(places, ANA, 1)
    first, second = due(ANA), due(ANA)
    for due_run in (first, second, first):
        places.enqueue(due_run)
    assert (places.queued_count, places.is_queued(first.run_id)) == (2, True)
    assert places.withdraw(first.run_id)
    assert not places.withdraw(first.run_id)
    assert (places.queued_count, places.is_queued(first.run_id)) == (1, False)


@settings(max_examples=300)
@given(st.integers(1, 12), st.lists(st.sampled_from([ANA, BEN, CEM]), max_size=60), st.randoms(use_true_random=False))
def test_bounds_hold_and_nobody_waits_for_ever(most: int, coming: list[UUID], random: Random) -> None:
    places = AdmissionQueue(most)
    held: list[DueRun] = []
    for workspace_id in coming:
        held += enqueue_runs(places, workspace_id, 1)
        assert len(held) <= most
        assert places.queued_count <= most + len({ANA, BEN, CEM}) - 1  # one of each, where there is no room left
        if held and random.random() < 0.4:
            places.release(held.pop(random.randrange(len(held))).run_id)
            held += fill(places)
    waiting = places.queued_count
    served = Counter[UUID]()
    while held:
        places.release(held.pop(0).run_id)
        begun = fill(places)
        served.update(due_run.workspace_id for due_run in begun)
        held += begun
    assert (served.total(), places.queued_count) == (waiting, 0)
