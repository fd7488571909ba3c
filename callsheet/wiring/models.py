"""Wiring of the model providers: their settings, the models of `default`, and the prices of models."""

from collections.abc import Iterator, Mapping

from msgspec.structs import asdict

from callsheet.settings.load import Settings
from callsheet.wiring.egress import create_egress_guard
from domain.runs.prices import Priced
from domain.setting_types import Secret
from engine.providers.anthropic import AnthropicSettings
from engine.providers.choice import DEFAULT, ProviderSettings
from engine.providers.http_provider import HttpSettings
from engine.providers.images.provider import ImagesSettings
from engine.providers.openai_compatible import OpenAiSettings
from engine.providers.provider_table import ProviderEntry
from engine.providers.traits import ServerTraits


def list_model_providers(settings: Settings) -> list[ProviderSettings]:
    """Return the configured providers; if there is none, the scripted provider answers.

    An entry of the table replaces the provider of the same name that has settings of its own.
    """
    table = settings.model.providers
    built_in = _list_built_in(settings)
    if table is None:
        return list(built_in)
    found = [provider for provider in built_in if provider.name not in table.entries]
    return [*found, *(_create_named(name, entry, table.keys[name], settings) for name, entry in table.entries.items())]


def _list_built_in(settings: Settings) -> Iterator[ProviderSettings]:
    model, anthropic = settings.model, settings.anthropic
    if model.api_key is not None:
        yield OpenAiSettings(
            api_key=model.api_key,
            base_url=model.base_url,
            default_model=model.model,
            connections_max=model.calls,
            guard=create_egress_guard(settings),
        )
    if anthropic.api_key is not None:
        yield AnthropicSettings(
            api_key=anthropic.api_key,
            base_url=anthropic.base_url,
            default_model=anthropic.model,
            connections_max=model.calls,
            output_tokens_default=anthropic.output_tokens_default,
            guard=create_egress_guard(settings),
        )


def _create_named(name: str, entry: ProviderEntry, key: Secret | None, settings: Settings) -> ProviderSettings:
    """Return the settings of one entry of the table."""
    defaults = ServerTraits()
    shared = HttpSettings(
        name=name,
        base_url=entry.base_url,
        api_key=key,
        key_header=entry.key_header,
        headers=entry.headers,
        default_model=entry.default_model,
        connections_max=settings.model.calls,
        guard=create_egress_guard(settings),
        reasoning=entry.reasoning,
        finish_reasons={word.lower().replace("-", "_"): finish for word, finish in entry.finish_reasons.items()},
        traits=ServerTraits(
            output_limit=entry.output_limit or defaults.output_limit,
            stream=entry.stream,
            stream_options=entry.stream_options,
            json_mode=entry.json_mode or defaults.json_mode,
        ),
    )
    if entry.protocol == "messages":
        return AnthropicSettings(**asdict(shared), output_tokens_default=entry.output_tokens_default)
    if entry.protocol == "images":
        return ImagesSettings(**asdict(shared))
    return OpenAiSettings(**asdict(shared))


def load_model_prices(settings: Settings) -> Mapping[str, Priced]:
    """Return the prices of models, by the names that graphs use."""
    table = settings.model.prices
    if table is None:
        return {}
    defaults = {provider.name: provider.default_model for provider in list_model_providers(settings)}
    return table.by_name({f"{name}/{DEFAULT}": f"{name}/{model}" for name, model in defaults.items() if model})
