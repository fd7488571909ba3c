"""Authentication: development tokens (JWT, RFC 7519, signed with HS256), verified once and then cached."""

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
TOKEN_BYTES_MAX: Final = 8_192
SUBJECT_LENGTH_MAX: Final = 255
PREFIX: Final = "bearer "

EXPIRED: Final = "The token has expired. Request a new one."
UNREADABLE: Final = (
    "The token is malformed. A bearer token is a JWT: three parts of letters, digits, `-` and `_`, separated by dots. "
    "Send the whole token."
)
VERIFICATION_MESSAGES: Final[tuple[tuple[type[jwt.PyJWTError], str], ...]] = (
    (jwt.ImmatureSignatureError, "The token is not valid yet. Check its claims `nbf` and `iat`, and your clock."),
    (jwt.InvalidSignatureError, "The token is not signed with the key of this server. Use a token of this server."),
    (jwt.InvalidAlgorithmError, f"The token must be signed with {ALGORITHM}."),
    (jwt.DecodeError, UNREADABLE),
)
"""The message for each error of the JWT library; the first match counts. The library's own texts are not shown."""


class Caller(Struct, frozen=True, kw_only=True):
    """Who sent a request. `scopes` is None if the token does not limit what it may be used for."""

    workspace_id: UUID
    actor: Actor
    scopes: frozenset[str] | None
    expires_at: float

    def require(self, scope: str) -> None:
        """Raise NotPermitted if the token is limited to other scopes."""
        if self.scopes is not None and scope not in self.scopes:
            raise NotPermitted(f"This operation requires a token with the scope `{scope}`.")


class Identity:
    """Identifies callers by their tokens. A token is verified once, and then looked up until it expires."""

    def __init__(
        self, secret: bytes, *, workspace_claim: str, clock: Callable[[], datetime], cached_max: int = 10_000
    ) -> None:
        """Create the verifier; `secret` is the key of the signatures, at least 32 bytes."""
        self._secret = secret
        self._workspace_claim = workspace_claim
        self._clock = clock
        self._cached_max = cached_max
        self._callers: OrderedDict[bytes, Caller] = OrderedDict()

    def identify(self, authorization: bytes | None) -> Caller:
        """Return who sent an `Authorization` header. Raises Unauthenticated."""
        if authorization is None:
            raise _reject(None)
        caller = self._callers.get(authorization)
        if caller is None:
            return self._cache(authorization, self._verify(authorization))
        if caller.expires_at <= self._clock().timestamp():
            del self._callers[authorization]
            raise _reject(EXPIRED)
        self._callers.move_to_end(authorization)
        return caller

    def _cache(self, authorization: bytes, caller: Caller) -> Caller:
        self._callers[authorization] = caller
        if len(self._callers) > self._cached_max:
            self._callers.popitem(last=False)
        return caller

    def _verify(self, authorization: bytes) -> Caller:
        text = authorization.decode("latin-1")
        if not text.lower().startswith(PREFIX):
            raise _reject(None)
        if len(text) > TOKEN_BYTES_MAX:
            raise _reject(f"The token must not be longer than {TOKEN_BYTES_MAX} bytes.")
        claims = self._decode(text[len(PREFIX) :].strip())
        expires_at = _parse_expiry(claims["exp"])
        if expires_at <= self._clock().timestamp():
            raise _reject(EXPIRED)
        return Caller(
            workspace_id=self._parse_workspace(claims.get(self._workspace_claim)),
            actor=Actor("user", _parse_subject(claims.get("sub"))),
            scopes=_parse_scopes(claims.get("scope")),
            expires_at=expires_at,
        )

    def _decode(self, token: str) -> dict[str, Any]:
        try:
            return jwt.decode(  # pyright: ignore[reportUnknownMemberType]  # of keys that are not used here
                token,
                self._secret,
                algorithms=[ALGORITHM],  # never the algorithm that the token names
                # Expiry is checked against our own clock, by the caller of this.
                options={"require": ["exp", "sub", self._workspace_claim], "verify_aud": False, "verify_exp": False},
            )
        except jwt.PyJWTError as fault:
            raise _reject(_describe_fault(fault)) from fault

    def _parse_workspace(self, claim: object) -> UUID:
        try:
            return to_uuid("ws", claim if isinstance(claim, str) else "")
        except ValueError:
            raise _reject(f"`{self._workspace_claim}` must be the id of a workspace (`ws_…`).") from None


def _describe_fault(fault: jwt.PyJWTError) -> str:
    if isinstance(fault, jwt.MissingRequiredClaimError):
        return f"The token lacks the claim `{fault.claim}`. Request a token that has it."
    found = (message for kind, message in VERIFICATION_MESSAGES if isinstance(fault, kind))
    return next(found, "A claim of the token does not have the type that RFC 7519 requires. Request another token.")


def _parse_expiry(claim: object) -> float:
    """Return a NumericDate (RFC 7519, section 2). PyJWT also accepts strings of digits; we do not."""
    if isinstance(claim, bool) or not isinstance(claim, (int, float)):
        raise _reject("`exp` must be a number.")
    return claim


def _parse_subject(claim: object) -> str:
    if not isinstance(claim, str) or not 0 < len(claim) <= SUBJECT_LENGTH_MAX or not claim.isprintable():
        raise _reject(f"`sub` must be a printable string of 1 to {SUBJECT_LENGTH_MAX} characters.")
    return claim


def _parse_scopes(claim: object) -> frozenset[str] | None:
    """Return scopes sent as a string with spaces (RFC 8693, section 4.2) or as a list of strings."""
    if claim is None:
        return None
    if isinstance(claim, str):
        return frozenset(claim.split())
    if isinstance(claim, list):
        items = cast("list[object]", claim)
        if all(isinstance(item, str) for item in items):
            return frozenset(str(item) for item in items)
    raise _reject("`scope` must be a string or a list of strings.")


def _reject(detail: str | None) -> Unauthenticated:
    """Return the rejection with its challenge (RFC 6750, section 3): an error code only if a token was sent."""
    challenge = 'Bearer realm="callsheet"' if detail is None else 'Bearer realm="callsheet", error="invalid_token"'
    return Unauthenticated(detail, headers={"WWW-Authenticate": challenge})
