"""The provider for Anthropic's messages protocol."""

import time
from collections.abc import Callable

from engine.providers.anthropic_wire import AnthropicWire
from engine.providers.http_provider import HttpProvider, HttpSettings


class AnthropicSettings(HttpSettings, frozen=True, kw_only=True):
    """Where the provider is and how it is asked."""

    name: str = "anthropic"
    base_url: str = "https://api.anthropic.com"
    output_tokens_default: int = 8_192
    """How long an answer may be where the node does not say: the protocol wants a limit."""


class Anthropic(HttpProvider):
    """One server of the messages protocol."""

    def __init__(self, settings: AnthropicSettings, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Create it without connecting. Raises ValueError for an address or a key that cannot be used."""
        super().__init__(settings, AnthropicWire(settings.output_tokens_default), monotonic)
