"""Wiring of the model providers: which there are, what `default` stands for, and what models cost."""

from collections.abc import Mapping

from callsheet.settings.load import Settings
from callsheet.wiring.egress import guard_of
from domain.runs.prices import Priced
from engine.providers.anthropic import AnthropicSettings
from engine.providers.choice import DEFAULT, ProviderSettings
from engine.providers.openai_compatible import OpenAiSettings


def model_settings(settings: Settings) -> list[ProviderSettings]:
    """Give the settings of the model providers; none without a key, and then the scripted one answers."""
    found: list[ProviderSettings] = []
    model, anthropic = settings.model, settings.anthropic
    if model.api_key is not None:
        found.append(
            OpenAiSettings(
                api_key=model.api_key,
                base_url=model.base_url,
                default_model=model.model,
                connections_max=model.calls,
                guard=guard_of(settings),
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
                guard=guard_of(settings),
            )
        )
    return found


def prices_of_models(settings: Settings) -> Mapping[str, Priced]:
    """Give what models cost, by the names that graphs use."""
    table = settings.model.prices
    if table is None:
        return {}
    defaults = {one.name: one.default_model for one in model_settings(settings)}
    return table.by_name({f"{name}/{DEFAULT}": f"{name}/{model}" for name, model in defaults.items() if model})
