"""The choice of a provider: from the `provider/model` of a prompt node to whoever answers, and the model's own name."""

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct

from domain.graphs.graph import ErrorClass
from engine.providers.anthropic import Anthropic, AnthropicSettings
from engine.providers.call_limiter import CallLimiter, LimitedProvider
from engine.providers.openai_compatible import OpenAiCompatible, OpenAiSettings
from engine.providers.provider import Provider, ProviderFault
from engine.providers.scripted import NAME, Scripted
from engine.settings import ModelSettings

DEFAULT: Final = "default"
"""The model of this name is the one that the provider's settings name."""


class ConfiguredProvider(Struct, frozen=True, kw_only=True):
    """A provider that can be asked, and what its model `default` stands for."""

    provider: Provider
    default_model: str | None = None


class Providers:
    """All providers by name. `scripted` always exists; where no other does, it stands in for every name."""

    def __init__(self, named: Mapping[str, ConfiguredProvider]) -> None:
        """Take the providers that are set up, by the name before the slash."""
        self._named = dict(named)
        self._scripted = Scripted()

    def choose(self, name: str) -> tuple[Provider, str]:
        """Return the provider of `provider/model` and the model it is to be asked for. Raises ProviderFault.

        Where the scripted provider stands in, its model is the whole name, so that `scripted/openai/gpt-5` is recorded.
        """
        provider, _, model = name.partition("/")
        if provider == NAME:
            return self._scripted, model
        if not self._named:
            return self._scripted, name
        found = self._named.get(provider)
        if found is None:
            there_are = ", ".join([*self._named, NAME])
            raise ProviderFault(
                ErrorClass.BAD_REQUEST, f"no model provider '{provider[:64]}' is set up; there are: {there_are}"
            )
        return found.provider, _resolve_model(found, provider, model)

    async def close(self) -> None:
        """Close every provider's connections."""
        for found in self._named.values():
            await found.provider.close()


ProviderSettings = OpenAiSettings | AnthropicSettings


def build_providers(settings: Iterable[ProviderSettings], limits: ModelSettings | None = None) -> Providers:
    """Set up a provider for each of the settings; of none, the scripted one stands in. Raises ValueError.

    With limits each provider has a queue of calls.
    """
    return Providers(
        {
            one.name: ConfiguredProvider(
                provider=_build_provider(one)
                if limits is None
                else LimitedProvider(_build_provider(one), _build_limiter(limits)),
                default_model=one.default_model,
            )
            for one in settings
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


def _resolve_model(found: ConfiguredProvider, provider: str, model: str) -> str:
    if model != DEFAULT:
        return model
    if found.default_model is None:
        raise ProviderFault(ErrorClass.BAD_REQUEST, f"the settings name no default model of '{provider}'")
    return found.default_model
