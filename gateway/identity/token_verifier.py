"""Verification of tokens by the rules of RFC 8725: what decides comes from settings, and nothing from the token."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import jwt
from msgspec import Struct

from gateway.identity.caller import Caller
from gateway.identity.claims import (
    parse_scopes,
    parse_subject,
    parse_time,
    parse_workspace,
    require_claim,
)
from gateway.identity.issuer_keys import Keys
from gateway.identity.jwt_parts import JwtParts
from store.log.records import Actor

EXPIRED: Final = "The token has expired. Request a new one."
NOT_YET: Final = "The token is not valid yet. Check its claims `nbf` and `iat`, and your clock."


class TokenRefused(Exception):  # noqa: N818  # becomes a 401
    """The token is not accepted; the message says why."""


class TrustedIssuer(Struct, frozen=True, kw_only=True):
    """An issuer with its keys. `audience` is None for development tokens, which have none."""

    name: str
    audience: str | None
    algorithms: tuple[str, ...]
    workspace_claim: str
    workspaces: frozenset[str] | None
    keys: Keys


class TokenVerifier:
    """Verifies the tokens of one issuer."""

    def __init__(self, issuer: TrustedIssuer, clock: Callable[[], datetime], skew_seconds: float) -> None:
        """Create it; `skew_seconds` is how far the issuer's clock may be ahead of ours."""
        self.issuer = issuer
        self._clock = clock
        self._skew_seconds = skew_seconds

    async def verify(self, token: str, parts: JwtParts) -> Caller:
        """Return the caller of a token whose parts were read. Raises TokenRefused, ClaimRefused, IssuerUnavailable."""
        issuer = self.issuer
        if parts.algorithm not in issuer.algorithms:
            raise TokenRefused(f"The token must be signed with {' or '.join(issuer.algorithms)}.")
        key = await issuer.keys.find(parts.key_id, parts.algorithm)
        if key is None:
            raise TokenRefused("The token is signed with a key that its issuer does not publish. Request a new token.")
        return self._create_caller(self._decode(token, key.key, key.algorithm))

    def _decode(self, token: str, key: Any, algorithm: str) -> dict[str, Any]:  # noqa: ANN401  # a key of any kind
        issuer = self.issuer
        try:
            return jwt.decode(  # pyright: ignore[reportUnknownMemberType]  # of keys that are not used here
                token,
                key,
                algorithms=[algorithm],  # of the key, and never the one that the token names
                issuer=issuer.name,
                audience=issuer.audience,
                # Times are checked against our own clock, below.
                options={
                    "require": ["iss", *([] if issuer.audience is None else ["aud"])],
                    "verify_aud": issuer.audience is not None,
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "verify_sub": False,
                    "verify_jti": False,
                },
            )
        except jwt.InvalidSignatureError as fault:
            raise TokenRefused("The signature of the token is wrong. Send a token of its issuer, unchanged.") from fault
        except jwt.InvalidAudienceError as fault:
            raise TokenRefused(f"`aud` must be `{issuer.audience}`: the token is for another service.") from fault
        except jwt.MissingRequiredClaimError as fault:
            raise TokenRefused(f"The token lacks the claim `{fault.claim}`. Request a token that has it.") from fault
        except (jwt.PyJWTError, ValueError, TypeError) as fault:  # the library's own texts are not shown
            raise TokenRefused("The token cannot be verified. Request another one of its issuer.") from fault

    def _create_caller(self, claims: dict[str, Any]) -> Caller:
        issuer, now = self.issuer, self._clock().timestamp()
        expires_at = parse_time(claims, "exp")
        if expires_at <= now:
            raise TokenRefused(EXPIRED)
        for name in ("nbf", "iat"):
            if claims.get(name) is not None and parse_time(claims, name) > now + self._skew_seconds:
                raise TokenRefused(NOT_YET)
        claim = issuer.workspace_claim
        user_id = parse_subject(require_claim(claims, "sub"))
        return Caller(
            workspace_id=parse_workspace(require_claim(claims, claim), claim, issuer.workspaces),
            user_id=user_id,
            actor=Actor("user", user_id),
            scopes=parse_scopes(claims.get("scope")),
            expires_at=expires_at,
        )
