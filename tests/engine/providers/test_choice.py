"""Choosing a provider: by the name before the slash, and the scripted one wherever no key is set."""

import pytest

from domain.graphs.graph import ErrorClass
from domain.setting_types import Secret
from engine.providers.anthropic import Anthropic, AnthropicSettings
from engine.providers.choice import build_providers
from engine.providers.openai_compatible import OpenAiCompatible, OpenAiSettings
from engine.providers.provider import ProviderFault
from engine.providers.scripted import Scripted

OPENAI = OpenAiSettings(api_key=Secret("sk-test"), default_model="gpt-5-mini")
LOCAL = OpenAiSettings(api_key=Secret("none"), name="local", base_url="http://127.0.0.1:1/v1")


@pytest.mark.parametrize("name", ["openai/gpt-5", "anthropic/claude", "openai/default"])
def test_without_a_key_every_name_is_scripted_and_keeps_its_name(name: str) -> None:
    provider, model = build_providers([]).choose(name)
    assert isinstance(provider, Scripted)
    assert model == name


async def test_a_provider_is_found_by_its_name() -> None:
    providers = build_providers([OPENAI, LOCAL])
    openai, model = providers.choose("openai/gpt-5")
    local, nested = providers.choose("local/org/model:7b")
    await providers.close()
    assert isinstance(openai, OpenAiCompatible)
    assert openai is not local
    assert (model, nested) == ("gpt-5", "org/model:7b")


async def test_default_is_the_model_of_the_settings() -> None:
    providers = build_providers([OPENAI, LOCAL])
    assert providers.choose("openai/default")[1] == "gpt-5-mini"
    with pytest.raises(ProviderFault, match="no default model of 'local'"):
        providers.choose("local/default")
    await providers.close()


async def test_the_scripted_provider_may_be_chosen_beside_others() -> None:
    providers = build_providers([OPENAI])
    provider, model = providers.choose("scripted/anything")
    await providers.close()
    assert isinstance(provider, Scripted)
    assert model == "anything"


async def test_an_unknown_provider_is_a_bad_request_that_names_the_known() -> None:
    providers = build_providers([OPENAI])
    with pytest.raises(ProviderFault) as caught:
        providers.choose("anthropic/claude")
    await providers.close()
    assert caught.value.error_class is ErrorClass.BAD_REQUEST
    assert caught.value.message == "Unknown model provider 'anthropic'. Configured: openai, scripted"


async def test_each_protocol_has_its_own_provider() -> None:
    providers = build_providers(
        [OPENAI, AnthropicSettings(api_key=Secret("sk-ant"), default_model="claude-sonnet-4-5")]
    )
    anthropic, model = providers.choose("anthropic/default")
    openai, _ = providers.choose("openai/default")
    await providers.close()
    assert isinstance(anthropic, Anthropic)
    assert isinstance(openai, OpenAiCompatible)
    assert model == "claude-sonnet-4-5"
