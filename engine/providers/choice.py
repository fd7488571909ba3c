"""Choose the provider and the model for the `provider/model` of a prompt node."""

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct

from domain.graphs.graph import ErrorClass
from engine.providers.anthropic import Anthropic, AnthropicSettings
from engine.providers.call_limiter import CallLimiter, LimitedProvider
from engine.providers.images.provider import ImagesProvider, ImagesSettings
from engine.providers.openai_compatible import OpenAiCompatible, OpenAiSettings
from engine.providers.provider import Provider, ProviderFault
from engine.providers.scripted import NAME, Scripted
from engine.settings import ModelSettings

DEFAULT: Final = "default"
"""The model name that stands for the default model in the provider's settings."""


class ConfiguredProvider(Struct, frozen=True, kw_only=True):
    """A provider, and the model that its `default` stands for."""

    provider: Provider
    default_model: str | None = None


class Providers:
    """All providers by name. `scripted` always exists, and replaces every provider if no other is configured."""

    def __init__(self, named: Mapping[str, ConfiguredProvider]) -> None:
        """Create it for the configured providers, by the name before the slash."""
        self._named = dict(named)
        self._scripted = Scripted()

    def choose(self, name: str) -> tuple[Provider, str]:
        """Return the provider of `provider/model` and its model. Raises ProviderFault.

        If the scripted provider replaces another, its model is the whole name: `scripted/openai/gpt-5` is recorded.
        """
        provider, _, model = name.partition("/")
        if provider == NAME:
            return self._scripted, model
        if not self._named:
            return self._scripted, name
        found = self._named.get(provider)
        if found is None:
            configured = ", ".join([*self._named, NAME])
            message = f"Unknown model provider '{provider[:64]}'. Configured: {configured}"
            raise ProviderFault(ErrorClass.BAD_REQUEST, message)
        return found.provider, _resolve_model(found, provider, model)

    async def close(self) -> None:
        """Close every provider's connections."""
        for found in self._named.values():
            await found.provider.close()


ProviderSettings = OpenAiSettings | AnthropicSettings | ImagesSettings


def build_providers(settings: Iterable[ProviderSettings], limits: ModelSettings | None = None) -> Providers:
    """Create the configured providers. Raises ValueError.

    With `limits`, each provider has a limiter of its own.
    """
    return Providers(
        {
            entry.name: ConfiguredProvider(
                provider=_build_provider(entry)
                if limits is None
                else LimitedProvider(_build_provider(entry), _build_limiter(limits)),
                default_model=entry.default_model,
            )
            for entry in settings
        }
    )


def _build_limiter(limits: ModelSettings) -> CallLimiter:
    return CallLimiter(
        calls=limits.calls,
        calls_per_workspace=limits.calls_per_workspace,
        waiting_per_workspace=limits.waiting_per_workspace,
    )


def _build_provider(settings: ProviderSettings) -> Provider:
    match settings:
        case OpenAiSettings():
            return OpenAiCompatible(settings)
        case AnthropicSettings():
            return Anthropic(settings)
        case ImagesSettings():
            return ImagesProvider(settings)


def _resolve_model(found: ConfiguredProvider, provider: str, model: str) -> str:
    if model != DEFAULT:
        return model
    if found.default_model is None:
        raise ProviderFault(
            ErrorClass.BAD_REQUEST,
            f"The settings have no default model of '{provider}': name a model, as in {provider}/<model>",
        )
    return found.default_model
