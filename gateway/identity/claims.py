"""Claims of a verified token: their types and bounds, each with a message that says what is wrong."""

import math
from typing import Any, Final, cast
from uuid import UUID

from domain.ids import to_uuid
from domain.names import normalize_user_id

SUBJECT_LENGTH_MAX: Final = 255
TIME_MAX: Final = 253_402_300_799
"""The end of the year 9999 in seconds since 1970."""
SCOPES_MAX: Final = 200


class ClaimRefused(Exception):  # noqa: N818  # becomes a 401
    """A claim is not acceptable; the message says which, and what is allowed."""


def require_claim(claims: dict[str, Any], name: str) -> object:
    """Return a claim. Raises ClaimRefused if the token lacks it."""
    if claims.get(name) is None:
        raise ClaimRefused(f"The token lacks the claim `{name}`. Request a token that has it.")
    return claims[name]


def parse_time(claims: dict[str, Any], name: str) -> float:
    """Return a NumericDate (RFC 7519, section 2) in seconds since 1970."""
    claim = require_claim(claims, name)
    if isinstance(claim, bool) or not isinstance(claim, (int, float)):
        raise ClaimRefused(f"`{name}` must be a number.")
    if not 0 <= claim <= TIME_MAX or not math.isfinite(claim):
        raise ClaimRefused(f"`{name}` must be a time in seconds since 1970.")
    return float(claim)


def parse_subject(claim: object) -> str:
    """Return the id of the user, in the Unicode normalization form NFC."""
    refused = ClaimRefused(f"`sub` must be a printable string of 1 to {SUBJECT_LENGTH_MAX} characters.")
    if not isinstance(claim, str) or not 0 < len(claim) <= SUBJECT_LENGTH_MAX:
        raise refused
    try:
        return normalize_user_id(claim)
    except ValueError:
        raise refused from None


def parse_workspace(claim: object, name: str, allowed: frozenset[str] | None) -> UUID:
    """Return the id of the workspace, which must be one that the issuer may name."""
    try:
        workspace_id = to_uuid("ws", claim if isinstance(claim, str) else "")
    except ValueError:
        raise ClaimRefused(f"`{name}` must be the id of a workspace (`ws_…`).") from None
    if allowed is not None and claim not in allowed:
        raise ClaimRefused(f"`{name}` names a workspace that this issuer is not trusted for.")
    return workspace_id


def parse_scopes(claim: object) -> frozenset[str] | None:
    """Return scopes sent as a string with spaces (RFC 8693, section 4.2) or as a list of strings; None: no claim."""
    if claim is None:
        return None
    if isinstance(claim, str):
        claim = claim.split()
    if isinstance(claim, list):
        items = cast("list[object]", claim)
        if len(items) <= SCOPES_MAX and all(isinstance(item, str) for item in items):
            return frozenset(str(item) for item in items)
    raise ClaimRefused(f"`scope` must be a string or a list of at most {SCOPES_MAX} strings.")
