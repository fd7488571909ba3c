"""Wiring of the model providers: which there are, what `default` stands for, and what models cost."""

from collections.abc import Mapping

from callsheet.settings.load import Settings
from callsheet.wiring.egress import create_egress_guard
from domain.runs.prices import Priced
from engine.providers.anthropic import AnthropicSettings
from engine.providers.choice import DEFAULT, ProviderSettings
from engine.providers.openai_compatible import OpenAiSettings


def list_model_providers(settings: Settings) -> list[ProviderSettings]:
    """Return the providers that have an API key; if there is none, the scripted provider answers."""
    found: list[ProviderSettings] = []
    model, anthropic = settings.model, settings.anthropic
    if model.api_key is not None:
        found.append(
            OpenAiSettings(
                api_key=model.api_key,
                base_url=model.base_url,
                default_model=model.model,
                connections_max=model.calls,
                guard=create_egress_guard(settings),
            )
        )
    if anthropic.api_key is not None:
        found.append(
            AnthropicSettings(
                api_key=anthropic.api_key,
                base_url=anthropic.base_url,
                default_model=anthropic.model,
                connections_max=model.calls,
                output_tokens_default=anthropic.output_tokens_default,
                guard=create_egress_guard(settings),
            )
        )
    return found


def load_model_prices(settings: Settings) -> Mapping[str, Priced]:
    """Return the prices of models, by the names that graphs use."""
    table = settings.model.prices
    if table is None:
        return {}
    defaults = {provider.name: provider.default_model for provider in list_model_providers(settings)}
    return table.by_name({f"{name}/{DEFAULT}": f"{name}/{model}" for name, model in defaults.items() if model})
