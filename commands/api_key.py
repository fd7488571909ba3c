"""The commands of API keys and how each is decided."""

from datetime import datetime
from uuid import UUID

from commands.command import Command
from domain.api_key import ApiKey, ApiKeyCreated, ApiKeyFact, ApiKeyRevoked, ApiKeyStatus


class CreateApiKey(Command[ApiKey], frozen=True, kw_only=True):
    """Create an API key of a user; only the hash of its secret is stored."""

    name: str
    user_id: str
    scopes: tuple[str, ...]
    project_ids: tuple[UUID, ...] | None
    secret_hash: str
    expires_at: datetime | None


class RevokeApiKey(Command[ApiKey], frozen=True, kw_only=True):
    """Revoke an API key for good."""

    user_id: str


def create_api_key(command: CreateApiKey, key: ApiKey, _gathered: None, _now: datetime) -> tuple[ApiKeyFact, ...]:
    """Decide that an API key begins."""
    if key.status is not ApiKeyStatus.ABSENT:
        return ()
    return (
        ApiKeyCreated(
            name=command.name,
            user_id=command.user_id,
            scopes=command.scopes,
            project_ids=command.project_ids,
            secret_hash=command.secret_hash,
            expires_at=command.expires_at,
        ),
    )


def revoke_api_key(command: RevokeApiKey, key: ApiKey, _gathered: None, _now: datetime) -> tuple[ApiKeyFact, ...]:
    """Decide that an API key is not accepted any more; repeated it changes nothing."""
    return (ApiKeyRevoked(revoked_by=command.user_id),) if key.status is ApiKeyStatus.ACTIVE else ()
