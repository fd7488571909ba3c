"""Who a request is from: development tokens (JWT, RFC 7519, signed with HS256), verified once and then remembered."""

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, cast
from uuid import UUID

import jwt
from msgspec import Struct

from domain.ids import to_uuid
from gateway.http.rejections import NotPermitted, Unauthenticated
from store.log.records import Actor

ALGORITHM: Final = "HS256"
LONGEST_TOKEN_BYTES: Final = 8_192
LONGEST_SUBJECT: Final = 255
PREFIX: Final = "bearer "

EXPIRED: Final = "The token has expired: ask for a new one."
UNREADABLE: Final = (
    "The token cannot be read. A bearer token is a JWT: three parts of letters, digits, - and _, with dots between "
    "them. Send it whole, as it was given to you."
)
TOLD: Final[tuple[tuple[type[jwt.PyJWTError], str], ...]] = (
    (jwt.ImmatureSignatureError, "The token is not valid yet: look at its claims nbf and iat, and at your clock."),
    (jwt.InvalidSignatureError, "The token is not signed with the key of this server: ask for one that is for it."),
    (jwt.InvalidAlgorithmError, f"The token is signed by an algorithm that is not taken: it has to be {ALGORITHM}."),
    (jwt.DecodeError, UNREADABLE),
)
"""What is told of a token that is not believed, and what to do; the first that fits. The library's words stay here."""


class Caller(Struct, frozen=True, kw_only=True):
    """Whom a token speaks for. `scopes` is None where the token does not limit what it may be used for."""

    workspace_id: UUID
    actor: Actor
    scopes: frozenset[str] | None
    expires_at: float

    def require(self, scope: str) -> None:
        """Raise NotPermitted when the token is limited to other scopes."""
        if self.scopes is not None and scope not in self.scopes:
            raise NotPermitted(f"This needs a token with the scope {scope}.")


class Identity:
    """Tells callers by their tokens. A token is verified once and then costs a look-up until it expires."""

    def __init__(
        self, secret: bytes, *, workspace_claim: str, clock: Callable[[], datetime], most_remembered: int = 10_000
    ) -> None:
        """Make it; `secret` is the key of the signatures, at least 32 bytes."""
        self._secret = secret
        self._workspace_claim = workspace_claim
        self._clock = clock
        self._most_remembered = most_remembered
        self._remembered: OrderedDict[bytes, Caller] = OrderedDict()

    def caller(self, authorization: bytes | None) -> Caller:
        """Tell who sent an `Authorization` header. Raises Unauthenticated."""
        if authorization is None:
            raise _unauthenticated(None)
        known = self._remembered.get(authorization)
        if known is None:
            return self._remember(authorization, self._verify(authorization))
        if known.expires_at <= self._clock().timestamp():
            del self._remembered[authorization]
            raise _unauthenticated(EXPIRED)
        self._remembered.move_to_end(authorization)
        return known

    def _remember(self, authorization: bytes, caller: Caller) -> Caller:
        self._remembered[authorization] = caller
        if len(self._remembered) > self._most_remembered:
            self._remembered.popitem(last=False)
        return caller

    def _verify(self, authorization: bytes) -> Caller:
        text = authorization.decode("latin-1")
        if not text.lower().startswith(PREFIX):
            raise _unauthenticated(None)
        if len(text) > LONGEST_TOKEN_BYTES:
            raise _unauthenticated(f"The token is longer than {LONGEST_TOKEN_BYTES} bytes.")
        claims = self._claims(text[len(PREFIX) :].strip())
        expires_at = _expiry(claims["exp"])
        if expires_at <= self._clock().timestamp():
            raise _unauthenticated(EXPIRED)
        return Caller(
            workspace_id=self._workspace(claims.get(self._workspace_claim)),
            actor=Actor("user", _subject(claims.get("sub"))),
            scopes=_scopes(claims.get("scope")),
            expires_at=expires_at,
        )

    def _claims(self, token: str) -> dict[str, Any]:
        try:
            return jwt.decode(  # pyright: ignore[reportUnknownMemberType]  # of keys that are not used here
                token,
                self._secret,
                algorithms=[ALGORITHM],  # never what the token itself names
                # When it expires is judged by our own clock, below.
                options={"require": ["exp", "sub", self._workspace_claim], "verify_aud": False, "verify_exp": False},
            )
        except jwt.PyJWTError as fault:
            raise _unauthenticated(_told(fault)) from fault

    def _workspace(self, claim: object) -> UUID:
        try:
            return to_uuid("ws", claim if isinstance(claim, str) else "")
        except ValueError:
            raise _unauthenticated(f"The claim {self._workspace_claim} names no workspace (ws_…).") from None


def _told(fault: jwt.PyJWTError) -> str:
    if isinstance(fault, jwt.MissingRequiredClaimError):
        return f"The token lacks the claim {fault.claim}: ask for one that has it."
    found = (told for kind, told in TOLD if isinstance(fault, kind))
    return next(found, "A claim of the token is not of the type that RFC 7519 gives it: ask for another token.")


def _expiry(claim: object) -> float:
    """Read a NumericDate (RFC 7519, section 2): PyJWT takes texts that hold a number as well, and we do not."""
    if isinstance(claim, bool) or not isinstance(claim, (int, float)):
        raise _unauthenticated("The claim exp is not a number.")
    return claim


def _subject(claim: object) -> str:
    if not isinstance(claim, str) or not 0 < len(claim) <= LONGEST_SUBJECT or not claim.isprintable():
        raise _unauthenticated("The claim sub names nobody.")
    return claim


def _scopes(claim: object) -> frozenset[str] | None:
    """Read scopes as a text with spaces (RFC 8693, section 4.2) or as a list of texts."""
    if claim is None:
        return None
    if isinstance(claim, str):
        return frozenset(claim.split())
    if isinstance(claim, list):
        items = cast("list[object]", claim)
        if all(isinstance(item, str) for item in items):
            return frozenset(str(item) for item in items)
    raise _unauthenticated("The claim scope is neither a text nor a list of texts.")


def _unauthenticated(detail: str | None) -> Unauthenticated:
    """Say what is missing by RFC 6750, section 3: an error code only where a token was sent."""
    challenge = 'Bearer realm="callsheet"' if detail is None else 'Bearer realm="callsheet", error="invalid_token"'
    return Unauthenticated(detail, headers={"WWW-Authenticate": challenge})
