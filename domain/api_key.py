"""API keys: credentials of programs, which act for the person who created them; their facts and state."""

from datetime import datetime
from enum import StrEnum
from typing import assert_never
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from domain.fact import Fact
from domain.refusal import Refusal, RefusalKind


class ApiKeyStatus(StrEnum):
    """Lifecycle of an API key; `absent` before its first fact. A key that has expired stays `active`."""

    ABSENT = "absent"
    ACTIVE = "active"
    REVOKED = "revoked"


class ApiKeyCreated(Fact, frozen=True, kw_only=True, tag="api-key.created"):
    """An API key was created. It acts for a user, with these scopes, in these projects or (None) in all of the user's.

    `secret_hash` is the SHA-256 of 256 random bits in hexadecimal digits: the secret cannot be found from it.
    """

    name: str
    user_id: str
    scopes: tuple[str, ...]
    project_ids: tuple[UUID, ...] | None = None
    secret_hash: str
    expires_at: datetime | None = None


class ApiKeyRevoked(Fact, frozen=True, kw_only=True, tag="api-key.revoked"):
    """An API key is not accepted any more."""

    revoked_by: str


ApiKeyFact = ApiKeyCreated | ApiKeyRevoked


class ApiKey(Struct, frozen=True, kw_only=True):
    """The state of an API key."""

    status: ApiKeyStatus = ApiKeyStatus.ABSENT
    name: str = ""
    user_id: str = ""
    scopes: tuple[str, ...] = ()
    project_ids: tuple[UUID, ...] | None = None
    secret_hash: str = ""
    expires_at: datetime | None = None
    revoked_by: str | None = None


class ApiKeyNotFound(Refusal):
    """There is no such API key."""

    code = "api_key_not_found"
    kind = RefusalKind.MISSING


def evolve(key: ApiKey, fact: ApiKeyFact) -> ApiKey:
    """Return the API key after one more fact. Accepts any history; never refuses."""
    match fact:
        case ApiKeyCreated():
            return ApiKey(
                status=ApiKeyStatus.ACTIVE,
                name=fact.name,
                user_id=fact.user_id,
                scopes=fact.scopes,
                project_ids=fact.project_ids,
                secret_hash=fact.secret_hash,
                expires_at=fact.expires_at,
            )
        case ApiKeyRevoked():
            return replace(key, status=ApiKeyStatus.REVOKED, revoked_by=fact.revoked_by)
        case _:
            assert_never(fact)
