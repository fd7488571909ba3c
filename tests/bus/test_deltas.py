"""Deltas: passed on to those who follow the run, from the beginning of each answer, and bounded for each of them."""

import random
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import texts
from bus.deltas import HELD_SECONDS_MAX, MOST_UNTAKEN, Delta, DeltaFollower, DeltaHub
from bus.texts import TextKey, WrittenTexts

RUN, OTHER = UUID(int=1), UUID(int=2)


def create_delta(number: int = 1) -> Delta:
    return Delta(node="a", attempt=1, offset=number, text="x")


def join(follower: DeltaFollower) -> str:
    """Return the text that a follower has got; the pieces must follow one another."""
    text = ""
    for delta in follower.take()[1]:
        assert delta.offset == len(text)
        text += delta.text
    return text


def test_every_follower_of_a_run_gets_its_deltas_and_no_others() -> None:
    hub = DeltaHub()
    woken: list[int] = []
    with hub.follow(RUN, lambda: woken.append(1)) as first, hub.follow(RUN, lambda: woken.append(2)) as second:
        hub.publish(RUN, create_delta(0))
        hub.publish(OTHER, create_delta(0))
        assert first.take() == second.take() == (0, [create_delta(0)])
        assert first.take() == (0, [])
    assert sorted(woken) == [1, 2]


def test_who_does_not_take_loses_the_oldest_and_is_told_how_many() -> None:
    hub = DeltaHub()
    with hub.follow(RUN, lambda: None) as follower:
        for number in range(MOST_UNTAKEN + 3):
            hub.publish(RUN, create_delta(number))
        dropped, taken = follower.take()
    assert dropped == 3
    assert [found.offset for found in taken] == list(range(3, MOST_UNTAKEN + 3))


def test_who_joins_while_an_answer_is_written_gets_what_was_written_until_then() -> None:
    hub = DeltaHub()
    write = hub.sender(RUN, node="a", attempt=1)
    write("Once upon ")
    write("a time ")
    with hub.follow(RUN, lambda: None) as follower:
        write("there was")
        assert join(follower) == "Once upon a time there was"
    with hub.follow(RUN, lambda: None, {TextKey(node="a", attempt=1): 12}) as follower:
        (delta,) = follower.take()[1]
        assert (delta.offset, delta.text) == (12, "time there was")


def test_an_answer_is_forgotten_when_its_attempt_ends() -> None:
    hub = DeltaHub()
    for call in (1, 2):
        hub.sender(RUN, node="a", attempt=1, call=call)("x" * 10)
    hub.sender(RUN, node="b", attempt=1)("y")
    assert len(hub.texts) == 3
    hub.end_texts(RUN, node="a", attempt=1)
    assert [delta.node for delta in hub.list_written(RUN)] == ["b"]
    hub.end_texts(RUN, node="b", attempt=1)
    assert len(hub.texts) == 0


def test_a_long_answer_keeps_its_end_and_all_answers_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "TEXT_CHARACTERS_MAX", 100)
    monkeypatch.setattr(texts, "ALL_CHARACTERS_MAX", 1_000)
    written = WrittenTexts()
    key = TextKey(node="a", attempt=1)
    whole = "".join(chr(97 + number % 26) for number in range(500))
    for at in range(0, 500, 10):
        assert written.append(RUN, key, whole[at : at + 10]) == at
        ((_, start, text),) = written.list_texts(RUN)
        assert len(text) <= 100
        assert text == whole[start : at + 10]
    for number in range(100):
        written.append(OTHER, TextKey(node=str(number), attempt=1), "x" * 50)
        written.append(OTHER, TextKey(node=str(number), attempt=1), "y" * 10)
    kept = sum(len(text) for run_id in (RUN, OTHER) for _, _, text in written.list_texts(run_id))
    assert kept <= 1_000 + 100 * 50, "beyond the bound each keeps its latest piece"


@given(st.text(min_size=1, max_size=60), st.integers(0, 2**32), st.booleans())
def test_pieces_in_any_order_twice_or_lost_become_the_text_once_what_was_asked_for_arrives(
    text: str, seed: int, is_reordered: object
) -> None:
    chances = random.Random(seed)  # noqa: S311  # repeatable
    asked: list[bool] = []
    follower = DeltaFollower(lambda: None, lambda: asked.append(True), lambda: 0.0)
    pieces: list[Delta] = []
    at = 0
    while at < len(text):
        length = chances.randint(1, 8)
        pieces.append(Delta(node="a", attempt=1, offset=at, text=text[at : at + length]))
        at += length
    arriving = [piece for piece in pieces for _ in range(chances.choice([0, 1, 1, 2]))]
    if is_reordered:
        chances.shuffle(arriving)
    for piece in arriving:
        follower.add(piece)
    is_whole = {piece.offset for piece in arriving} == {piece.offset for piece in pieces}
    assert asked or is_whole or not arriving or pieces[-1] not in arriving
    follower.add(Delta(node="a", attempt=1, offset=0, text=text))
    assert join(follower) == text


def test_pieces_behind_a_gap_that_nobody_fills_are_sent_after_a_second() -> None:
    now = [0.0]
    follower = DeltaFollower(lambda: None, lambda: None, lambda: now[0])
    follower.add(Delta(node="a", attempt=1, offset=10, text="late"))
    assert follower.take() == (0, [])
    now[0] = HELD_SECONDS_MAX
    follower.add(Delta(node="a", attempt=1, offset=14, text="r"))
    assert [(delta.offset, delta.text) for delta in follower.take()[1]] == [(10, "late"), (14, "r")]
