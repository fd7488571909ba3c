"""Base URLs of providers go through the guard like every other address."""

import msgspec
import pytest

from domain.graphs.graph import ErrorClass
from domain.setting_types import Secret
from engine.providers.openai_compatible import OpenAiCompatible, OpenAiSettings
from engine.providers.provider import ModelRequest, ProviderFault
from tests.support.model_server.server import ModelServer

ASK = {"model": "echo", "prompt": "Hi", "idempotency_token": "run-1.a", "timeout_seconds": 5}


async def test_a_base_url_that_is_not_public_is_refused_with_the_setting_that_allows_it(
    model_server: ModelServer,
) -> None:
    provider = OpenAiCompatible(OpenAiSettings(api_key=Secret("sk-test"), base_url=model_server.base_url))
    with pytest.raises(ProviderFault) as caught:
        await provider.complete(msgspec.convert(ASK, ModelRequest), lambda _text: None)
    await provider.close()
    assert caught.value.error_class is ErrorClass.BAD_REQUEST
    assert "CALLSHEET_OUTGOING_ALLOWED" in caught.value.message
    assert "127.0.0.1" not in caught.value.message
    assert model_server.connections == 0
