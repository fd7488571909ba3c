"""Token counts of providers: an invalid count affects neither the answer nor the totals."""

import msgspec
import pytest

from engine.providers.answers.finish_reasons import Ending, Finish
from engine.providers.anthropic_wire import AnthropicWire
from engine.providers.openai_wire import OpenAiWire
from engine.providers.wire import TOKENS_MAX

OPENAI = OpenAiWire()
ANTHROPIC = AnthropicWire(output_tokens_default=100)
NO_COUNTS: list[object] = [-1, TOKENS_MAX + 1, 10**30, 1.5, "12", None, True, [], {}]


@pytest.mark.parametrize("count", NO_COUNTS, ids=repr)
def test_what_is_no_count_is_not_taken_for_one(count: object) -> None:
    usage = {"prompt_tokens": count, "completion_tokens": 3}
    said = OPENAI.piece(msgspec.json.encode({"choices": [], "usage": usage}).decode())
    assert said is not None
    assert (said.input_tokens, said.output_tokens) == (None, 3)

    usage = {"input_tokens": 7, "cache_read_input_tokens": count, "output_tokens": count}
    event = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}
    told = ANTHROPIC.piece(msgspec.json.encode(event).decode())
    assert told is not None
    assert (told.ending, told.input_tokens, told.output_tokens) == (Ending(Finish.COMPLETE, "end_turn"), 7, None)


def test_a_count_is_taken_as_it_is() -> None:
    usage = {"prompt_tokens": 0, "completion_tokens": TOKENS_MAX}
    said = OPENAI.piece(msgspec.json.encode({"choices": None, "usage": usage}).decode())
    assert said is not None
    assert (said.input_tokens, said.output_tokens) == (0, TOKENS_MAX)


def test_a_piece_that_adds_nothing_may_say_so_by_null() -> None:
    said = OPENAI.piece('{"choices": [{"delta": null, "finish_reason": "stop"}]}')
    assert said is not None
    assert (said.ending, said.text) == (Ending(Finish.COMPLETE, "stop"), "")
