"""The shapes of answers: where the text may be, how its bytes may arrive, and what of it is the model's reasoning."""

from collections.abc import AsyncGenerator

import pytest

from domain.graphs.graph import ErrorClass
from engine.providers.answers.event_stream import BodyDecoder, Event
from engine.providers.answers.thoughts import Split, ThoughtSplitter, split_unopened
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
    deltas: list[str] = []
    asked = ModelRequest(model=model, prompt="Hi", idempotency_token="t", timeout_seconds=10)  # noqa: S106  # no secret
    answer = await provider.complete(asked, deltas.append)
    assert "".join(deltas) == answer.text, "reasoning is not in the deltas"
    return answer


@pytest.mark.parametrize(
    "model",
    [
        "parts",
        "plain",
        "plain?text/event-stream",
        "plain?text/plain",
        "wrong-type",
        "wrong-type?application/json",
        "wrong-type?application/octet-stream",
        "split?Half of",
    ],
)
async def test_an_answer_in_another_shape_is_read(either: Provider, model: str) -> None:
    answer = await complete(either, model)
    assert answer.text == "Half of"
    assert not answer.usage.finish_unknown
    assert answer.usage.input_tokens == 7


async def test_characters_of_several_bytes_survive_being_torn_apart(either: Provider) -> None:
    assert (await complete(either, "split?Ünï 😀 “x”")).text == "Ünï 😀 “x”"


IN_BAND = [
    '{"error": {"message": "out of memory", "type": "server_error", "code": 500.0}}',
    '{"error": "out of memory"}',
    '{"object": "error", "message": "out of memory", "code": 500}',
    '{"detail": "out of memory"}',
    '{"code": "500", "msg": "out of memory"}',
    '[{"error": {"code": 500, "message": "out of memory", "status": "INTERNAL"}}]',
    '{"type": "error", "error": {"type": "api_error", "message": "out of memory"}}',
]


@pytest.mark.parametrize("said", IN_BAND)
async def test_an_error_with_status_200_is_an_error(either: Provider, said: str) -> None:
    for model in (f"body?200 application/json {said}", f"events?data: {said}\n\ndata: [DONE]\n\n"):
        with pytest.raises(ProviderFault) as caught:
            await complete(either, model)
        assert caught.value.error_class is ErrorClass.UNAVAILABLE
        assert "out of memory" in caught.value.message


@pytest.mark.parametrize(
    "data", ["the backend died", '{"reason": "the backend died"}', '{"message": "the backend died"}']
)
async def test_an_event_named_error_is_one_whatever_its_data(either: Provider, data: str) -> None:
    with pytest.raises(ProviderFault, match="the backend died") as caught:
        await complete(either, f"events?event: error\ndata: {data}\n\n")
    assert caught.value.error_class is ErrorClass.UNAVAILABLE


@pytest.mark.parametrize("code", ["429", "429.0", '"429"', '"429.0"', '"rate_limit_exceeded"'])
async def test_a_code_in_the_stream_may_be_a_number_in_any_form(either: Provider, code: str) -> None:
    with pytest.raises(ProviderFault) as caught:
        await complete(either, f'events?data: {{"error": {{"message": "slow down", "code": {code}}}}}\n\n')
    assert caught.value.error_class is ErrorClass.RATE_LIMITED


async def test_a_page_is_quoted_without_its_tags(either: Provider) -> None:
    with pytest.raises(ProviderFault, match="Please sign in") as caught:
        await complete(either, "page")
    assert "<" not in caught.value.message


@pytest.mark.parametrize("field", ["", "reasoning", "reasoning_content"])
async def test_reasoning_in_a_field_is_kept_apart_and_counted(provider: OpenAiCompatible, field: str) -> None:
    answer = await complete(provider, f"thinks?{field}")
    assert (answer.text, answer.reasoning) == ("Half of", "Let me think.")
    assert answer.usage.reasoning_characters == len("Let me think.")


async def test_reasoning_in_blocks_is_kept_apart_and_counted(either: Provider) -> None:
    answer = await complete(either, "thinks")
    assert answer.text == "Half of"
    assert answer.reasoning.endswith("Let me think.")
    assert (await complete(either, "plain")).reasoning == "Hm."


@pytest.mark.parametrize(
    ("said", "answer", "reasoning"),
    [
        ("<think>Hm. < 3</think>\n\nYes", "Yes", "Hm. < 3"),
        ("\n<THINK>\nHm.\n</Think>Yes", "Yes", "\nHm.\n"),
        ("<thinking>Hm.</thinking> Yes", "Yes", "Hm."),
        ("<think></think><think>Hm.</think>Yes", "Yes", "Hm."),
        ("[THINK]Hm.[/THINK]Yes", "Yes", "Hm."),
        ("<think>Hm.", "", "Hm."),
        ("Hm.\n</think>\n\nYes", "Yes", "Hm.\n"),
        ("Yes <think>no</think>", "Yes <think>no</think>", ""),
        ("<thin> Yes", "<thin> Yes", ""),
        ("Close it by </think> there", "Close it by </think> there", ""),
        ("  Yes", "  Yes", ""),
        ("<", "<", ""),
    ],
)
async def test_reasoning_in_tags_before_the_answer_never_becomes_the_output(
    provider: OpenAiCompatible, said: str, answer: str, reasoning: str
) -> None:
    asked = ModelRequest(model=f"text?{said}", prompt="Hi", idempotency_token="t", timeout_seconds=10)  # noqa: S106
    found = await provider.complete(asked, lambda _text: None)
    thought = f"Hm.{reasoning}" if found.reasoning.startswith("Hm.Hm.") else reasoning
    assert (found.text, found.reasoning) == (answer, thought)
    assert found.usage.reasoning_characters == len(found.reasoning)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13])
def test_tags_are_found_wherever_the_text_is_split(size: int) -> None:
    text = "  <Think>a </thin b</THINK>\n Yes <think>"
    splitter = ThoughtSplitter()
    pieces = [splitter.feed(text[start : start + size]) for start in range(0, len(text), size)]
    pieces.append(splitter.finish())
    assert "".join(piece.answer for piece in pieces) == "Yes <think>"
    assert "".join(piece.reasoning for piece in pieces) == "a </thin b"


def test_a_server_that_opens_the_tag_itself_can_be_told_so() -> None:
    splitter = ThoughtSplitter(is_opened=True)
    assert [splitter.feed("Hm.</th"), splitter.feed("ink>Yes")] == [Split(reasoning="Hm."), Split(answer="Yes")]


def test_reasoning_that_was_closed_but_never_opened_is_found_at_the_end() -> None:
    assert split_unopened("Hm.</think>\nYes") == Split(answer="Yes", reasoning="Hm.")
    assert split_unopened("<think> </think>\nYes") == Split(answer="<think> </think>\nYes")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_events_are_the_same_wherever_the_bytes_are_split(size: int) -> None:
    body = "\ufeffdata: é😀\r\n\r\nevent: error\rdata: x\rdata: y\r\r: c\n\nretry: 1\n\ndata: last".encode()
    decoder = BodyDecoder(event_bytes_max=100, document_bytes_max=100)
    events = [event for start in range(0, len(body), size) for event in decoder.feed(body[start : start + size])]
    assert [*events, *decoder.finish()] == [Event("", "é😀"), Event("error", "x\ny"), Event("", "last")]
