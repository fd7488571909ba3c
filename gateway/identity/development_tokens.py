"""Development tokens: JWTs like those of an identity provider, signed with the development secret (HS256)."""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import jwt

from domain.ids import from_uuid
from gateway.identity.issuer_keys import FixedKeys
from gateway.identity.key_set import KeySet, SigningKey
from gateway.identity.token_verifier import TrustedIssuer

ALGORITHM: Final = "HS256"
ISSUER: Final = "callsheet-development"


def sign_development_token(
    secret: bytes,
    *,
    workspace_claim: str,
    workspace_id: UUID,
    user_id: str,
    now: datetime,
    lasts: timedelta,
    scope: str | None = None,
) -> str:
    """Return a signed token for a user of a workspace (JWT, RFC 7519, HS256); `scope` limits what it is for."""
    claims = {
        "iss": ISSUER,
        "sub": user_id,
        workspace_claim: from_uuid("ws", workspace_id),
        "iat": now,
        "exp": now + lasts,
        **({} if scope is None else {"scope": scope}),
    }
    return jwt.encode(claims, secret, algorithm=ALGORITHM)  # pyright: ignore[reportUnknownMemberType]  # its key is typed in part


def create_development_issuer(secret: bytes, workspace_claim: str) -> TrustedIssuer:
    """Return the issuer of development tokens; `secret` signs them, at least 32 bytes."""
    return TrustedIssuer(
        name=ISSUER,
        audience=None,
        algorithms=(ALGORITHM,),
        workspace_claim=workspace_claim,
        workspaces=None,
        keys=FixedKeys(KeySet([SigningKey(None, ALGORITHM, secret)])),
    )
