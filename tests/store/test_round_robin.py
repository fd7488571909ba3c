"""Round robin between workspaces: each is served one piece in turn, and nobody loses a turn by others."""

from collections import defaultdict
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from store.round_robin import RoundRobin

ANA, BEN, CEM = UUID(int=1), UUID(int=2), UUID(int=3)


def of(*waiting: tuple[UUID, str]) -> RoundRobin[str]:
    line: RoundRobin[str] = RoundRobin()
    for workspace_id, item in waiting:
        line.enqueue(workspace_id, item)
    return line


def drain_queue(line: RoundRobin[str]) -> list[str]:
    taken: list[str] = []
    while (item := line.take()) is not None:
        taken.append(item[1])
    return taken


def test_each_workspace_is_served_one_piece_in_turn() -> None:
    line = of((ANA, "a1"), (ANA, "a2"), (ANA, "a3"), (BEN, "b1"), (BEN, "b2"), (CEM, "c1"))
    assert drain_queue(line) == ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert not line


def test_who_comes_late_waits_for_one_piece_of_each_other_only() -> None:
    line = of(*((ANA, f"a{number}") for number in range(500)))
    assert line.take() == (ANA, "a0")
    line.enqueue(BEN, "b")
    assert [line.take(), line.take(), line.take()] == [(ANA, "a1"), (BEN, "b"), (ANA, "a2")]


def test_who_may_not_be_served_keeps_its_place() -> None:
    line = of((ANA, "a1"), (ANA, "a2"), (BEN, "b1"), (BEN, "b2"))
    assert line.take(lambda workspace: workspace == BEN) == (BEN, "b1")
    assert line.take(lambda _one: False) is None
    assert drain_queue(line) == ["a1", "b2", "a2"]


def test_what_is_removed_is_not_served_and_costs_its_workspace_no_turn() -> None:
    line = of((ANA, "a1"), (ANA, "a2"), (BEN, "b1"))
    line.remove(ANA, "a1")
    line.remove(ANA, "a1")
    line.remove(CEM, "a2")
    assert (line.waiting(ANA), line.waiting(BEN), line.waiting(CEM)) == (1, 1, 0)
    assert drain_queue(line) == ["a2", "b1"]


def test_what_waits_already_keeps_its_place() -> None:
    assert drain_queue(of((ANA, "a1"), (ANA, "a2"), (ANA, "a1"))) == ["a1", "a2"]


@given(st.lists(st.tuples(st.sampled_from([ANA, BEN, CEM]), st.sampled_from(["put", "take", "remove"]))))
def test_nobody_waits_for_more_than_one_piece_of_each_other_and_lines_keep_their_order(
    deeds: list[tuple[UUID, str]],
) -> None:
    line: RoundRobin[int] = RoundRobin()
    expected: dict[UUID, list[int]] = defaultdict(list)
    served_since: dict[UUID, list[UUID]] = {}  # who was served while somebody waited for a turn
    for number, (workspace_id, deed) in enumerate(deeds):
        if deed == "put":
            line.enqueue(workspace_id, number)
            expected[workspace_id].append(number)
            served_since.setdefault(workspace_id, [])
        elif deed == "remove" and expected[workspace_id]:
            line.remove(workspace_id, expected[workspace_id].pop())
        elif deed == "take" and (taken := line.take()) is not None:
            served, item = taken
            assert item == expected[served].pop(0)
            for waits in (workspace for workspace in served_since if workspace != served and expected[workspace]):
                served_since[waits].append(served)
                assert len(set(served_since[waits])) == len(served_since[waits])
            served_since[served] = []
        for workspace in list(served_since):
            if not expected[workspace]:
                del served_since[workspace]
        assert bool(line) is any(expected.values())
