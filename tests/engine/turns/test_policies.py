"""Policies that are plain arithmetic: how long to wait, and the keyed hash of what a person is shown."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from domain.graphs.graph import Backoff, ErrorClass
from engine.steps.attempts import compute_backoff_seconds
from engine.steps.contract import build_failure
from engine.steps.human import hash_shown_values
from store.log.json_encoding import encode

backoffs = st.builds(
    Backoff,
    initial_seconds=st.floats(0, 3_600),
    factor=st.floats(1, 10),
    max_seconds=st.floats(0, 86_400),
    jitter=st.floats(0, 1),
)


@given(backoffs, st.integers(1, 20), st.randoms(use_true_random=False))
def test_a_wait_lies_between_its_jitter_and_its_bound(backoff: Backoff, attempt: int, random: Random) -> None:
    wait = compute_backoff_seconds(backoff, attempt, random)
    whole = min(backoff.max_seconds, backoff.initial_seconds * backoff.factor ** (attempt - 1))
    assert whole * (1 - backoff.jitter) <= wait <= whole


def test_waits_double_up_to_their_bound() -> None:
    backoff = Backoff(initial_seconds=1, factor=2, max_seconds=5, jitter=0)
    assert [compute_backoff_seconds(backoff, attempt, Random(1)) for attempt in range(1, 6)] == [1, 2, 4, 5, 5]  # noqa: S311  # a seeded draw


def test_the_hash_of_what_is_shown_knows_the_values_and_the_key_and_not_their_order() -> None:
    shown = hash_shown_values({"a": 1, "b": {"c": 2, "d": 3}}, b"key")
    assert shown == hash_shown_values({"b": {"d": 3, "c": 2}, "a": 1}, b"key")
    assert shown != hash_shown_values({"a": 1, "b": {"c": 2, "d": 4}}, b"key")
    assert shown != hash_shown_values({"a": 1, "b": {"c": 2, "d": 3}}, b"another key")
    assert shown.startswith("hmac-sha256:")


@given(st.text(st.characters(), max_size=50) | st.just("a\0b\ud800c"))
def test_whatever_a_failure_says_can_be_stored(message: str) -> None:
    encode(build_failure(ErrorClass.INTERNAL, message).error)
