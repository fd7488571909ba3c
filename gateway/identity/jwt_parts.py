"""The parts of a JWT before its signature is verified: read strictly, so that no two readers can disagree."""

import json
import re
from base64 import urlsafe_b64decode
from typing import Any, Final, NoReturn, cast

from msgspec import Struct

PART: Final = re.compile(r"[A-Za-z0-9_-]+")
KEY_ID_LENGTH_MAX: Final = 200
TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt", "application/jwt"})
"""Access tokens (RFC 9068) and tokens without a type of their own; others, such as `logout+jwt`, are for other uses."""
FORBIDDEN_HEADERS: Final = ("crit", "b64", "zip", "jwk", "jku", "x5u", "x5c")
"""Extensions that are not supported (RFC 7515, section 4.1.11), and keys of the token's own choice (RFC 8725, 3.10)."""


class JwtMalformed(Exception):  # noqa: N818  # becomes a 401
    """The token is not a JWT."""


class JwtHeaderRefused(Exception):  # noqa: N818  # becomes a 401
    """The header of the token asks for something that is not supported; the message says for what."""


class JwtParts(Struct, frozen=True):
    """Header and claims of a token. Nothing in them can be trusted yet."""

    algorithm: str
    key_id: str | None
    claims: dict[str, Any]


def read_parts(token: str) -> JwtParts:
    """Read a token. Raises JwtMalformed, JwtHeaderRefused."""
    parts = token.split(".")
    if len(parts) != 3 or not all(PART.fullmatch(part) for part in parts):  # noqa: PLR2004  # header, claims, signature
        raise JwtMalformed
    header = _read_object(parts[0])
    for name in FORBIDDEN_HEADERS:
        if name in header:
            raise JwtHeaderRefused(f"The header `{name}` of a token is not supported.")
    kind: object = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower() not in TYPES:
        raise JwtHeaderRefused("The header `typ` of the token must be `JWT` or `at+jwt`.")
    algorithm, key_id = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str):
        raise JwtMalformed
    if key_id is not None and not (isinstance(key_id, str) and len(key_id) <= KEY_ID_LENGTH_MAX):
        raise JwtHeaderRefused(
            f"The header `kid` of the token must be a string of at most {KEY_ID_LENGTH_MAX} letters."
        )
    return JwtParts(algorithm, key_id, _read_object(parts[1]))


def _read_object(part: str) -> dict[str, Any]:
    """Return the JSON object of a part. Duplicate names, NaN and infinities are refused."""
    try:
        text = urlsafe_b64decode(part + "=" * (-len(part) % 4)).decode()
        found = json.loads(text, object_pairs_hook=_build_object, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as fault:
        raise JwtMalformed from fault
    if not isinstance(found, dict):
        raise JwtMalformed
    return cast("dict[str, Any]", found)


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is listed twice")
    return found


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")
