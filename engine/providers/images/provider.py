"""The provider for servers with OpenAI's Images API, which make images of a text."""

import time
from collections.abc import Callable

from msgspec.structs import replace

from engine.providers.http_provider import HttpProvider, HttpSettings
from engine.providers.images.wire import ImagesWire


class ImagesSettings(HttpSettings, frozen=True, kw_only=True):
    """Settings of one server."""

    name: str = "images"
    base_url: str = "https://api.openai.com/v1"


class ImagesProvider(HttpProvider):
    """A server with the Images API. It is asked for one document, and for image data in place of addresses."""

    def __init__(self, settings: ImagesSettings, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Create it without connecting. Raises ValueError for an invalid base URL or API key."""
        traits = replace(settings.traits, stream=False, stream_options=False, image_data=True)
        super().__init__(replace(settings, traits=traits, reasoning="off"), ImagesWire(), monotonic)
