"""Malformed answers of real servers in both protocols: readable text is kept, and an empty answer is a failure."""

from collections.abc import AsyncGenerator

import msgspec
import pytest

from domain.graphs.graph import ErrorClass
from engine.providers.provider import ModelRequest, ModelResponse, Provider, ProviderFault
from engine.providers.wire import TOKENS_MAX
from tests.engine.providers.conftest import speaking
from tests.support.model_server.server import ModelServer

ODD_USAGES: list[object] = [
    None,
    [],
    "many",
    7,
    {},
    {"prompt_tokens": "7", "completion_tokens": -1, "input_tokens": "7", "output_tokens": -1},
    {"prompt_tokens": 10**30, "completion_tokens": TOKENS_MAX + 1, "input_tokens": 10**30, "output_tokens": 1.5},
    {"prompt_tokens": [], "completion_tokens": {}, "input_tokens": [], "output_tokens": {}},
]


@pytest.fixture(params=["openai", "anthropic"])
async def either(request: pytest.FixtureRequest, model_server: ModelServer) -> AsyncGenerator[Provider]:
    """A provider of one protocol and then of the other."""
    made = speaking(request.param, model_server.base_url)
    yield made
    await made.close()


async def complete(provider: Provider, model: str) -> ModelResponse:
    deltas: list[str] = []
    asked = ModelRequest(model=model, prompt="Hi", idempotency_token="t", timeout_seconds=10)  # noqa: S106  # no secret
    answer = await provider.complete(asked, deltas.append)
    assert "".join(deltas) == answer.text
    return answer


async def test_a_mark_before_the_stream_and_events_without_data_cost_no_word(either: Provider) -> None:
    answer = await complete(either, "marked")
    assert answer.text == "First \ufeffsecond", "only the mark at the very beginning is none of the text"
    assert answer.usage.output_tokens == 2


async def test_half_a_surrogate_pair_becomes_a_replacement_character(either: Provider) -> None:
    answer = await complete(either, "half-pairs")
    assert answer.text == "a\ufffdb\U0001f600c\ufffd\ufffdd\\ud800"
    assert answer.usage.output_tokens == 1


@pytest.mark.parametrize("told", ODD_USAGES, ids=repr)
async def test_an_odd_usage_does_not_cost_the_answer(either: Provider, told: object) -> None:
    answer = await complete(either, f"odd-usage?{msgspec.json.encode(told).decode()}")
    assert answer.text == "Paid"
    assert answer.usage.output_tokens == 0
    assert answer.usage.input_tokens in {0, 7}, "what Anthropic's server said when it began stays"


@pytest.mark.parametrize("model", ["done-alone", "nothing", "spent", "tool"])
async def test_an_answer_without_text_says_why_there_is_none(either: Provider, model: str) -> None:
    answer = await complete(either, model)
    assert (answer.text, answer.truncated, answer.called_tool) == ("", model == "spent", model == "tool")
    assert answer.usage.input_tokens == (0 if model == "done-alone" else 7)


async def test_a_refusal_is_one_whatever_was_written_before(either: Provider) -> None:
    with pytest.raises(ProviderFault) as caught:
        await complete(either, "filtered")
    assert caught.value.error_class is ErrorClass.CONTENT_REFUSED
    assert caught.value.usage is not None
    assert caught.value.usage.output_tokens == 2
