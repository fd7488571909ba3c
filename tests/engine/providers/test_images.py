"""Image models, by OpenAI's Images API: what they are asked, how they answer, and what cannot be asked of them."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from domain.graphs.configs import JsonOutput, ModelParameters
from domain.graphs.graph import ErrorClass
from domain.setting_types import Secret
from engine.providers.images.provider import ImagesProvider, ImagesSettings
from engine.providers.provider import ModelRequest, ModelResponse, ProviderFault
from engine.providers.turns import Media, MediaPiece, TextPiece, Turn
from tests.engine.providers.conftest import KEY, LOCAL
from tests.support.model_server.openai_images import JPEG, PNG
from tests.support.model_server.server import ModelServer


@pytest.fixture
async def images(model_server: ModelServer) -> AsyncGenerator[ImagesProvider]:
    """A provider of image models."""
    created = ImagesProvider(ImagesSettings(api_key=Secret(KEY), base_url=model_server.base_url, guard=LOCAL))
    yield created
    await created.close()


async def ask(provider: ImagesProvider, model: str, **fields: Any) -> ModelResponse:  # noqa: ANN401  # any field
    given: dict[str, Any] = {"prompt": "A lamp", "idempotency_token": "t", "timeout_seconds": 10, **fields}
    return await provider.complete(ModelRequest(model=model, **given), lambda _text: None)


async def expect_fault(provider: ImagesProvider, model: str, **fields: Any) -> ProviderFault:  # noqa: ANN401  # any field
    with pytest.raises(ProviderFault) as caught:
        await ask(provider, model, **fields)
    return caught.value


async def test_an_image_model_is_asked_for_image_data_and_gives_an_image(
    images: ImagesProvider, model_server: ModelServer
) -> None:
    answer = await ask(images, "png")
    assert answer.media == (Media(media_type="image/png", data=PNG),)
    assert (answer.text, answer.usage.model) == ("A fine A lamp", "images/png")
    [call] = model_server.calls
    assert call.body == {"model": "png", "prompt": "A lamp", "n": 1, "response_format": "b64_json"}
    assert (call.headers["authorization"], call.headers["accept"]) == (f"Bearer {KEY}", "application/json")


async def test_a_model_that_knows_no_response_format_is_asked_without_it_from_then_on(
    images: ImagesProvider, model_server: ModelServer
) -> None:
    for _ in range(2):
        answer = await ask(images, "rejects?response_format")
        assert answer.media == (Media(media_type="image/png", data=PNG),)
        assert (answer.usage.input_tokens, answer.usage.output_tokens) == (7, 272)
    assert ["response_format" in call.body for call in model_server.calls] == [True, False, False]


async def test_the_media_type_is_that_of_the_image(images: ImagesProvider) -> None:
    assert (await ask(images, "jpeg")).media == (Media(media_type="image/jpeg", data=JPEG),)


async def test_many_images_are_kept_and_none_is_no_answer(images: ImagesProvider, model_server: ModelServer) -> None:
    await ask(images, "rejects?response_format")
    model_server.script_behaviours("many?3", "empty")
    assert len((await ask(images, "rejects?response_format")).media) == 3
    empty = await ask(images, "rejects?response_format")
    assert (empty.media, empty.text) == ((), "")


@pytest.mark.parametrize(
    ("model", "error_class", "said"),
    [
        ("moderated", ErrorClass.CONTENT_REFUSED, "safety system"),
        ("address", ErrorClass.INVALID_OUTPUT, "not fetched"),
        ("broken", ErrorClass.INVALID_OUTPUT, "base64"),
    ],
)
async def test_what_is_no_image_fails(images: ImagesProvider, model: str, error_class: ErrorClass, said: str) -> None:
    fault = await expect_fault(images, model)
    assert fault.error_class is error_class
    assert said in fault.message


PICTURE = MediaPiece(kind="image", media=Media(media_type="image/png", data=PNG))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"parameters": ModelParameters(temperature=0.5, stop=(".",))},
            "the parameter temperature, the parameter stop",
        ),
        ({"output": JsonOutput(schema={})}, "the output format json"),
        (
            {"turns": (Turn(role="user", pieces=(TextPiece(text="Like this"), PICTURE)),)},
            "images and files in messages",
        ),
    ],
)
async def test_what_an_image_model_cannot_be_asked_is_refused_before_the_call(
    images: ImagesProvider, model_server: ModelServer, fields: dict[str, Any], said: str
) -> None:
    fault = await expect_fault(images, "png", **fields)
    assert fault.error_class is ErrorClass.BAD_REQUEST
    assert said in fault.message
    assert model_server.calls == []
