"""The provider for servers with Anthropic's messages protocol."""

import time
from collections.abc import Callable

from engine.providers.answers.finish_reasons import MESSAGES
from engine.providers.anthropic_wire import AnthropicWire
from engine.providers.http_provider import HttpProvider, HttpSettings


class AnthropicSettings(HttpSettings, frozen=True, kw_only=True):
    """Settings of one server."""

    name: str = "anthropic"
    base_url: str = "https://api.anthropic.com"
    output_tokens_default: int = 8_192
    """Limit of output tokens for nodes that set none; the protocol requires one."""


class Anthropic(HttpProvider):
    """A server with the messages protocol."""

    def __init__(self, settings: AnthropicSettings, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Create it without connecting. Raises ValueError for an invalid base URL or API key."""
        super().__init__(
            settings, AnthropicWire(settings.output_tokens_default, {**MESSAGES, **settings.finish_reasons}), monotonic
        )
