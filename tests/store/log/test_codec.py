"""Stored facts are a public contract: what was ever written is read, and written the same, by every later version."""

from pathlib import Path

import msgspec
import pytest

from store.log.codec import PLAIN_JSON, TOPICS, decode_fact, encode_fact

GOLDEN = (Path(__file__).parents[1] / "golden" / "facts.jsonl").read_bytes().splitlines()
"""Facts as they were once stored. Lines are added, for new topics and new fields, and never edited."""


def parse_topic(state: bytes) -> str:
    return msgspec.json.decode(state)["fact"]


@pytest.mark.parametrize("state", GOLDEN, ids=parse_topic)
def test_a_fact_that_was_stored_once_is_read_and_written_as_it_was(state: bytes) -> None:
    assert encode_fact(decode_fact(1, parse_topic(state), PLAIN_JSON, None, state)) == state


def test_there_is_a_stored_example_of_every_topic() -> None:
    assert {parse_topic(state) for state in GOLDEN} == TOPICS
