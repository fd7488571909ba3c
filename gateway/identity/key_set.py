"""Public keys of an issuer (JWK Set, RFC 7517): only those that can verify signatures, each with its algorithms."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

import jwt
from jwt.algorithms import AllowedPublicKeys
from msgspec import Struct

from gateway.identity.issuers import Algorithm

KEYS_MAX: Final = 100
KEY_ID_LENGTH_MAX: Final = 200
RSA_BITS: Final = range(2_048, 8_193)
"""Shorter keys are insecure (RFC 7518, section 3.3); longer ones take milliseconds per signature."""
RSA_EXPONENT_LENGTH_MAX: Final = 6
"""Of the exponent in base64url, 32 bits: a longer one makes each verification slow."""
CURVES: Final[Mapping[Algorithm, str]] = {Algorithm.ES256: "P-256", Algorithm.EDDSA: "Ed25519"}
PUBLIC_FIELDS: Final[Mapping[Algorithm, tuple[str, ...]]] = {
    Algorithm.RS256: ("RSA", "n", "e"),
    Algorithm.PS256: ("RSA", "n", "e"),
    Algorithm.ES256: ("EC", "crv", "x", "y"),
    Algorithm.EDDSA: ("OKP", "crv", "x"),
}
"""For each algorithm the type of its keys, and their public fields: nothing else of a key is read."""


class KeysUnreadable(Exception):  # noqa: N818  # the issuer's fault: what was fetched before stays in use
    """The document is not a JWK Set with a usable key."""


class SigningKey(Struct, frozen=True):
    """A public key for one algorithm."""

    key_id: str | None
    algorithm: str
    key: AllowedPublicKeys | bytes


class KeySet:
    """The keys of one issuer."""

    def __init__(self, keys: Sequence[SigningKey]) -> None:
        """Create a set of keys."""
        self._keys = tuple(keys)

    def __len__(self) -> int:
        """Return the number of keys; a key for two algorithms counts twice."""
        return len(self._keys)

    def find(self, key_id: str | None, algorithm: str) -> SigningKey | None:
        """Return the key with an id for an algorithm. A token without `kid` gets the only key of its algorithm."""
        fitting = [key for key in self._keys if key.algorithm == algorithm]
        if key_id is None:
            return fitting[0] if len(fitting) == 1 else None
        return next((key for key in fitting if key.key_id == key_id), None)


def parse_key_set(document: bytes, algorithms: Sequence[Algorithm]) -> KeySet:
    """Return the usable keys of a JWK Set. Raises KeysUnreadable if there is none."""
    try:
        parsed = json.loads(document)
    except (ValueError, RecursionError) as fault:
        raise KeysUnreadable("the document is not JSON") from fault
    keys: object = cast("dict[str, object]", parsed).get("keys") if isinstance(parsed, dict) else None
    if not isinstance(keys, list):
        raise KeysUnreadable("the document has no list `keys`")
    entries = cast("list[object]", keys)[:KEYS_MAX]
    found = [key for entry in entries for key in _parse_key(entry, algorithms)]
    if not found:
        raise KeysUnreadable(f"none of its keys can be used with {', '.join(algorithms)}")
    return KeySet(found)


def _parse_key(entry: object, algorithms: Sequence[Algorithm]) -> Iterator[SigningKey]:
    if not isinstance(entry, dict):
        return
    fields = cast("dict[str, Any]", entry)
    key_id: object = fields.get("kid")
    if key_id is not None and not (isinstance(key_id, str) and len(key_id) <= KEY_ID_LENGTH_MAX):
        return
    if fields.get("use", "sig") != "sig" or "verify" not in fields.get("key_ops", ("verify",)):
        return
    for algorithm in algorithms:
        if fields.get("alg", algorithm) == algorithm:
            key = _build_key(fields, algorithm)
            if key is not None:
                yield SigningKey(key_id, algorithm.value, key)


def _build_key(fields: Mapping[str, Any], algorithm: Algorithm) -> AllowedPublicKeys | None:
    """Return the public key, None if it does not fit the algorithm, or is too weak or too slow for it."""
    kind, *names = PUBLIC_FIELDS[algorithm]
    public = {name: fields.get(name) for name in names}
    if fields.get("kty") != kind or not all(isinstance(value, str) for value in public.values()):
        return None
    if public.get("crv") != CURVES.get(algorithm) or len(public.get("e") or "") > RSA_EXPONENT_LENGTH_MAX:
        return None
    try:
        key: Any = jwt.PyJWK({"kty": kind, **public}, algorithm=algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    return key if kind != "RSA" or key.key_size in RSA_BITS else None
