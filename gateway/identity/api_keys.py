"""Verification of API keys: by the folded key, which every process follows, so that a revoked key stops everywhere."""

from collections.abc import Callable
from datetime import datetime
from typing import Final
from uuid import UUID

from commands.aggregates import API_KEY
from commands.repository import Streams
from domain.api_key import ApiKey, ApiKeyStatus
from domain.folded import Folded
from domain.ids import from_uuid
from gateway.identity.api_key_text import is_secret_of, parse_api_key
from gateway.identity.caller import NO_LIMIT, Caller
from store.log.records import Actor

EXPIRED: Final = "The API key has expired. Create a new one."
REVOKED: Final = "The API key was revoked. Create a new one."
WRONG: Final = "The API key is wrong. Send the whole key as it was shown when it was created."


class ApiKeyRefused(Exception):  # noqa: N818  # becomes a 401
    """The API key is not accepted; the message says why."""


class ApiKeyVerifier:
    """Verifies API keys. `version` changes whenever a key is revoked, so that cached callers are verified again."""

    def __init__(
        self, streams: Streams, clock: Callable[[], datetime], on_use: Callable[[UUID, datetime], None]
    ) -> None:
        """Create it; `on_use` is called with each key that is used."""
        self.version = 0
        self._streams = streams
        self._clock = clock
        self._on_use = on_use

    async def verify(self, text: str) -> Caller:
        """Return the caller of an API key. Raises ApiKeyRefused, Unavailable."""
        parts = parse_api_key(text)
        folded = None if parts is None else await self._streams.load(API_KEY, parts.key_id)
        if parts is None or folded is None or not is_secret_of(parts.secret, folded.state.secret_hash):
            raise ApiKeyRefused(WRONG)
        key = folded.state
        if key.status is not ApiKeyStatus.ACTIVE:
            raise ApiKeyRefused(REVOKED)
        if key.expires_at is not None and key.expires_at <= self._clock():
            raise ApiKeyRefused(EXPIRED)
        return create_key_caller(folded)

    async def check_active(self, key_id: UUID) -> None:
        """Raise ApiKeyRefused if a key was revoked. Raises Unavailable."""
        folded = await self._streams.load(API_KEY, key_id)
        if folded is None or folded.state.status is not ApiKeyStatus.ACTIVE:
            raise ApiKeyRefused(REVOKED)

    def record_use(self, key_id: UUID) -> None:
        """Record a use of a key."""
        self._on_use(key_id, self._clock())

    def forget(self, key_id: UUID) -> None:
        """Invalidate cached callers: a key was revoked."""
        self._streams.forget(key_id)
        self.version += 1


def create_key_caller(folded: Folded[ApiKey]) -> Caller:
    """Return the caller of an API key."""
    key = folded.state
    return Caller(
        workspace_id=folded.workspace_id,
        user_id=key.user_id,
        actor=Actor("api_key", from_uuid("key", folded.stream_id)),
        scopes=frozenset(key.scopes),
        expires_at=NO_LIMIT if key.expires_at is None else key.expires_at.timestamp(),
        key_id=folded.stream_id,
        project_ids=None if key.project_ids is None else frozenset(key.project_ids),
    )
