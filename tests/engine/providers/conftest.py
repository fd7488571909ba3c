"""A model server, and our provider connected to it."""

from collections.abc import AsyncGenerator, Generator

import pytest

from domain.setting_types import Secret
from engine.egress.allow_list import AllowList
from engine.egress.guard import Guard
from engine.providers.anthropic import Anthropic, AnthropicSettings
from engine.providers.openai_compatible import OpenAiCompatible, OpenAiSettings
from engine.providers.provider import Provider
from tests.support.model_server.server import ModelServer

KEY = "sk-test-0123456789"
LOCAL = Guard(allowed=AllowList("127.0.0.1"))
"""Lets us call the servers of the tests."""


def speaking(protocol: str, url: str) -> Provider:
    """Return a provider that speaks `openai` or `anthropic` with the server at an address."""
    if protocol == "openai":
        return OpenAiCompatible(OpenAiSettings(api_key=Secret(KEY), base_url=url, guard=LOCAL))
    base_url = url.removesuffix("/v1")
    return Anthropic(AnthropicSettings(api_key=Secret(KEY), base_url=base_url, output_tokens_default=99, guard=LOCAL))


@pytest.fixture
def model_server() -> Generator[ModelServer]:
    """A real HTTP server with a ledger, told by model name how to behave."""
    with ModelServer() as server:
        yield server


@pytest.fixture
async def provider(model_server: ModelServer) -> AsyncGenerator[OpenAiCompatible]:
    """The provider under test, with bounds small enough to reach."""
    provider = OpenAiCompatible(
        OpenAiSettings(
            api_key=Secret(KEY),
            base_url=model_server.base_url,
            response_bytes_max=2_000_000,
            event_bytes_max=200_000,
            guard=LOCAL,
        )
    )
    yield provider
    await provider.close()
