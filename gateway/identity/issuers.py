"""Issuers of tokens: which are trusted, for which audience and algorithms, and where their keys are published."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

BYTES_MAX: Final = 1024 * 1024
ISSUERS_MAX: Final = 100
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

Text = Annotated[str, Meta(min_length=1, max_length=2_000)]


class Algorithm(StrEnum):
    """The signature algorithms that an issuer may be trusted with (RFC 7518, RFC 8037): asymmetric ones only."""

    RS256 = "RS256"
    PS256 = "PS256"
    ES256 = "ES256"
    EDDSA = "EdDSA"


class Issuer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An issuer whose tokens are accepted.

    `issuer` and `audience` must equal the claims `iss` and (one of) `aud`. `workspace_claim` names the claim with the
    id of the workspace; `workspaces`, if set, are the only ones that this issuer may name. Keys come from `jwks_url` or
    `jwks_file`; without either from OpenID Connect Discovery.
    """

    issuer: Text
    audience: Text
    algorithms: Annotated[tuple[Algorithm, ...], Meta(min_length=1)]
    workspace_claim: Text = "workspace"
    workspaces: frozenset[str] | None = None
    jwks_url: Text | None = None
    jwks_file: Text | None = None


class IssuersFile:
    """The trusted issuers, read from a JSON file with a list of them."""

    def __init__(self, path: str) -> None:
        """Read the file. Raises ValueError with what is wrong in it."""
        try:
            if Path(path).stat().st_size > BYTES_MAX:
                raise ValueError(f"the issuers file {path} is too large. Limit: {BYTES_MAX} bytes")
            text = Path(path).read_bytes()
            issuers = msgspec.json.decode(
                text, type=Annotated[tuple[Issuer, ...], Meta(min_length=1, max_length=ISSUERS_MAX)]
            )
        except OSError as error:
            raise ValueError(f"the issuers file {path} cannot be read: {error.strerror}") from None
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise ValueError(f"the issuers file {path} is invalid: {error}") from None
        for issuer in issuers:
            check_issuer(issuer)
        if len({issuer.issuer for issuer in issuers}) < len(issuers):
            raise ValueError(f"the issuers file {path} lists an issuer twice")
        self.issuers = issuers

    def __repr__(self) -> str:
        return f"IssuersFile({', '.join(issuer.issuer for issuer in self.issuers)})"


def check_issuer(issuer: Issuer) -> None:
    """Raise ValueError unless the place of the keys is unambiguous, and reached over TLS or on this machine."""
    if issuer.jwks_url is not None and issuer.jwks_file is not None:
        raise ValueError(f"the issuer {issuer.issuer} has both `jwks_url` and `jwks_file`. Remove one of them")
    if issuer.jwks_file is None:
        check_key_url(issuer.jwks_url or issuer.issuer)


def check_key_url(url: str) -> None:
    """Raise ValueError unless keys may be fetched from a URL: `https`, or `http` from this machine."""
    parts = urlsplit(url)
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
    if not is_safe or not parts.hostname or parts.username is not None:
        raise ValueError(f"keys cannot be fetched from {url}: it must be an `https://` URL without credentials")
