"""A verifier of API keys for tests that use none."""

from callsheet.clock import utc_now
from commands.repository import Streams
from gateway.identity.api_keys import ApiKeyVerifier
from store.log.log import Log
from store.settings import StoreSettings


def create_unused_verifier() -> ApiKeyVerifier:
    """Return a verifier over a log that is not opened."""
    streams = Streams(Log("", StoreSettings()), most_cached=1)
    return ApiKeyVerifier(streams, utc_now, lambda _key_id, _at: None)
