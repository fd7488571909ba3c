"""The provider for servers with OpenAI's chat completions protocol: OpenAI, and local model servers."""

import time
from collections.abc import Callable

from engine.providers.answers.finish_reasons import CHAT_COMPLETIONS
from engine.providers.http_provider import HttpProvider, HttpSettings
from engine.providers.openai_wire import OpenAiWire


class OpenAiSettings(HttpSettings, frozen=True, kw_only=True):
    """Settings of one server."""

    name: str = "openai"
    base_url: str = "https://api.openai.com/v1"


class OpenAiCompatible(HttpProvider):
    """A server with the chat completions protocol."""

    def __init__(self, settings: OpenAiSettings, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Create it without connecting. Raises ValueError for an invalid base URL or API key."""
        super().__init__(settings, OpenAiWire({**CHAT_COMPLETIONS, **settings.finish_reasons}), monotonic)
