"""Identity: who sent a request, by its `Authorization` header. A credential is verified once and then cached."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

from msgspec import Struct

from gateway.http.rejections import Unauthenticated
from gateway.identity.api_key_text import PREFIX as API_KEY_PREFIX
from gateway.identity.api_keys import ApiKeyRefused, ApiKeyVerifier
from gateway.identity.caller import Caller
from gateway.identity.claims import ClaimRefused
from gateway.identity.jwt_parts import JwtHeaderRefused, JwtMalformed, JwtParts, read_parts
from gateway.identity.token_verifier import EXPIRED, TokenRefused, TokenVerifier
from store.lru import LruCache

TOKEN_BYTES_MAX: Final = 8_192
PREFIX: Final = "bearer "
MALFORMED: Final = (
    "The token is malformed. A bearer token is a JWT: three parts of letters, digits, `-` and `_`, separated by dots. "
    "Send the whole token."
)


class Versioned(Protocol):
    """Basis of a verified credential; `version` changes when it has to be verified again."""

    version: int


class CachedCaller(Struct, frozen=True):
    """A caller whose credential was verified, with the version of what it rests on at that time."""

    caller: Caller
    keys: Versioned
    keys_version: int


class Identity:
    """Identifies callers by tokens and API keys.

    A credential is verified once, and again when its issuer's keys change or an API key is revoked, until it expires.
    """

    def __init__(
        self,
        verifiers: Iterable[TokenVerifier],
        api_keys: ApiKeyVerifier,
        *,
        clock: Callable[[], datetime],
        cached_max: int = 10_000,
    ) -> None:
        """Create it for the tokens of some issuers, at most one verifier for each, and for API keys."""
        self._verifiers = {verifier.issuer.name: verifier for verifier in verifiers}
        self._api_keys = api_keys
        self._clock = clock
        self._cached = LruCache[bytes, CachedCaller](cached_max)

    async def identify(self, authorization: bytes | None) -> Caller:
        """Return who sent an `Authorization` header. Raises Unauthenticated, IssuerUnavailable."""
        if authorization is None:
            raise reject(None)
        cached = self._cached.get(authorization)
        if cached is None or cached.keys.version != cached.keys_version:
            caller = await self._verify(authorization)
        else:
            caller = cached.caller
            if caller.expires_at <= self._clock().timestamp():
                self._cached.remove(authorization)
                raise reject(EXPIRED)
        if caller.key_id is not None:
            self._api_keys.record_use(caller.key_id)
        return caller

    async def check_current(self, caller: Caller) -> None:
        """Check the credential of an earlier request again. Raises Unauthenticated, Unavailable."""
        if caller.expires_at <= self._clock().timestamp():
            raise reject(EXPIRED)
        if caller.key_id is not None:
            try:
                await self._api_keys.check_active(caller.key_id)
            except ApiKeyRefused as fault:
                raise reject(str(fault)) from fault

    def forget_key(self, key_id: UUID) -> None:
        """Invalidate cached callers with API keys: a key was revoked."""
        self._api_keys.forget(key_id)

    async def _verify(self, authorization: bytes) -> Caller:
        text = authorization.decode("latin-1")
        if not text.lower().startswith(PREFIX):
            raise reject(None)
        if len(text) > TOKEN_BYTES_MAX:
            raise reject(f"The token must not be longer than {TOKEN_BYTES_MAX} bytes.")
        token = text[len(PREFIX) :].strip()
        if token.startswith(API_KEY_PREFIX):
            return await self._verify_api_key(authorization, token)
        try:
            parts = read_parts(token)
            verifier = self._find_verifier(parts)
            keys = verifier.issuer.keys
            version = keys.version
            caller = await verifier.verify(token, parts)
        except JwtMalformed as fault:
            raise reject(MALFORMED) from fault
        except (JwtHeaderRefused, ClaimRefused, TokenRefused) as fault:
            raise reject(str(fault)) from fault
        self._cached.put(authorization, CachedCaller(caller, keys, version))
        return caller

    async def _verify_api_key(self, authorization: bytes, text: str) -> Caller:
        version = self._api_keys.version
        try:
            caller = await self._api_keys.verify(text)
        except ApiKeyRefused as fault:
            raise reject(str(fault)) from fault
        self._cached.put(authorization, CachedCaller(caller, self._api_keys, version))
        return caller

    def _find_verifier(self, parts: JwtParts) -> TokenVerifier:
        name: object = parts.claims.get("iss")
        verifier = self._verifiers.get(name) if isinstance(name, str) else None
        if verifier is None:
            raise TokenRefused("`iss` must name an issuer that this server trusts.")
        return verifier


def reject(detail: str | None) -> Unauthenticated:
    """Return the rejection with its challenge (RFC 6750, section 3): an error code only if a token was sent."""
    challenge = 'Bearer realm="callsheet"' if detail is None else 'Bearer realm="callsheet", error="invalid_token"'
    return Unauthenticated(detail, headers={"WWW-Authenticate": challenge})
