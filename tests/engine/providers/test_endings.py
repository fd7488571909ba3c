"""Ends of answers: a broken-off answer never passes for a whole one, and an unknown ending is kept and shown."""

from collections.abc import AsyncGenerator

import pytest
import structlog

from domain.graphs.graph import ErrorClass, Retry
from engine.providers.answers.finish_reasons import CHAT_COMPLETIONS, MESSAGES, Ending, Finish, read_ending
from engine.providers.openai_compatible import OpenAiCompatible
from engine.providers.provider import ModelRequest, ModelResponse, Provider, ProviderFault
from tests.engine.providers.conftest import speaking
from tests.support.model_server.server import ModelServer


@pytest.fixture(params=["openai", "anthropic"])
async def either(request: pytest.FixtureRequest, model_server: ModelServer) -> AsyncGenerator[Provider]:
    """A provider of one protocol and then of the other."""
    made = speaking(request.param, model_server.base_url)
    yield made
    await made.close()


async def complete(provider: Provider, model: str) -> ModelResponse:
    asked = ModelRequest(model=model, prompt="Hi", idempotency_token="t", timeout_seconds=10)  # noqa: S106  # no secret
    return await provider.complete(asked, lambda _text: None)


async def expect_fault(provider: Provider, model: str) -> ProviderFault:
    with pytest.raises(ProviderFault) as caught:
        await complete(provider, model)
    return caught.value


FAILURES = [
    "finish?error",
    "finish?ERROR",
    "finish?abort",
    "finish?network_error",
    "finish?insufficient_system_resource",
    "finish?MALFORMED_FUNCTION_CALL",
]
NATIVE_FAILURES = [
    "finish?stop|error",
    "finish?stop|MALFORMED_FUNCTION_CALL",
    "finish?stop|OTHER",
    "finish?stop|FINISH_REASON_OTHER",
    "finish?stop|cancelled",
    "choice-error",
]


def check_broken_off(fault: ProviderFault) -> None:
    assert fault.error_class in Retry().retry_on, fault.message
    assert fault.usage is not None, "what was paid is recorded"
    assert (fault.usage.input_tokens, fault.usage.output_tokens) == (7, 2)


@pytest.mark.parametrize("model", FAILURES)
async def test_a_reason_of_failure_is_a_failure_that_can_be_tried_again(either: Provider, model: str) -> None:
    fault = await expect_fault(either, model)
    check_broken_off(fault)
    assert fault.usage is not None
    assert fault.usage.finish_reason == model.partition("?")[2]
    assert model.partition("?")[2] in fault.message


@pytest.mark.parametrize("model", NATIVE_FAILURES)
async def test_stop_does_not_hide_that_the_server_behind_failed(provider: OpenAiCompatible, model: str) -> None:
    check_broken_off(await expect_fault(provider, model))


async def test_an_error_on_the_choice_is_quoted_and_classified(provider: OpenAiCompatible) -> None:
    assert "the backend died" in (await expect_fault(provider, "choice-error")).message
    busy = await expect_fault(provider, 'choice-error?{"code": 429.0, "message": "slow down"}')
    assert busy.error_class is ErrorClass.RATE_LIMITED


async def test_an_empty_reason_is_none(provider: OpenAiCompatible) -> None:
    fault = await expect_fault(provider, "empty-finish")
    assert fault.error_class is ErrorClass.UNAVAILABLE
    assert "before the response was complete" in fault.message


@pytest.mark.parametrize("model", ["finish?content_filter", "finish?refusal", "finish?sensitive", "finish?SAFETY"])
async def test_a_reason_of_refusal_is_a_refusal(either: Provider, model: str) -> None:
    fault = await expect_fault(either, model)
    assert fault.error_class is ErrorClass.CONTENT_REFUSED
    assert fault.usage is not None
    assert fault.usage.output_tokens == 2


async def test_the_words_of_a_refusal_reach_the_reader(provider: OpenAiCompatible) -> None:
    assert "I will not." in (await expect_fault(provider, "refuses")).message


@pytest.mark.parametrize("word", ["length", "max_tokens", "model_context_window_exceeded", "MAX_TOKENS"])
async def test_a_cut_answer_says_so_in_its_usage(either: Provider, word: str) -> None:
    answer = await complete(either, f"finish?{word}")
    assert answer.truncated
    assert answer.usage.truncated
    assert answer.usage.finish_reason in {word, "max_tokens"}


async def test_a_turn_that_was_paused_is_no_whole_answer(either: Provider) -> None:
    answer = await complete(either, "finish?pause_turn")
    assert answer.usage.truncated or answer.usage.finish_unknown


@pytest.mark.parametrize("word", ["stop", "end_turn", "eos", "COMPLETE"])
async def test_a_whole_answer_keeps_the_word_of_its_server(either: Provider, word: str) -> None:
    usage = (await complete(either, f"finish?{word}")).usage
    assert usage.finish_reason in {word, "end_turn"}
    assert (usage.truncated, usage.finish_unknown) == (False, False)


async def test_an_unknown_reason_is_kept_shown_and_logged_once(either: Provider) -> None:
    with structlog.testing.capture_logs() as logs:
        await complete(either, "finish?weather\0 changed")
        answer = await complete(either, "finish?weather\0 changed")
    assert answer.text == "Half of"
    assert answer.usage.finish_reason == "weather changed"
    assert answer.usage.finish_unknown
    assert not answer.truncated
    [line] = [line for line in logs if line["event"] == "model.finish_reason_unknown"]
    assert line["finish_reason"] == "weather changed"


@pytest.mark.parametrize("model", ["done-alone", "empty-finish?done"])
async def test_a_stream_that_ends_without_a_reason_is_not_known_to_be_whole(
    provider: OpenAiCompatible, model: str
) -> None:
    usage = (await complete(provider, model)).usage
    assert (usage.finish_reason, usage.finish_unknown) == (None, True)


@pytest.mark.parametrize(
    ("reason", "native", "expected"),
    [
        ("stop", None, Ending(Finish.COMPLETE, "stop")),
        ("stop", "STOP", Ending(Finish.COMPLETE, "stop")),
        ("stop", "completed", Ending(Finish.COMPLETE, "stop")),
        ("stop", "new word", Ending(Finish.COMPLETE, "stop (new word)")),
        ("stop", "MAX_TOKENS", Ending(Finish.CUT, "stop (MAX_TOKENS)")),
        ("stop", "SAFETY", Ending(Finish.REFUSED, "stop (SAFETY)")),
        ("length", "stop", Ending(Finish.CUT, "length")),
        ("x" * 100, None, Ending(Finish.UNKNOWN, "x" * 64)),
        (7, None, Ending(Finish.UNKNOWN, "7")),
        ("tool-calls", None, Ending(Finish.CALLED_TOOL, "tool-calls")),
        (None, "error", None),
        ("", None, None),
        ("null", None, None),
        (False, None, None),
    ],
)
def test_reasons_are_read_in_any_spelling(reason: object, native: object, expected: Ending | None) -> None:
    assert read_ending(CHAT_COMPLETIONS, reason, native) == expected


def test_every_meaning_has_a_word_in_both_protocols() -> None:
    for table in (CHAT_COMPLETIONS, MESSAGES):
        assert {*table.values(), Finish.UNKNOWN} == set(Finish)
