"""Assembly of identity: the trusted issuers of the settings, and the task that fetches their keys."""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime

import httpx2
from msgspec import Struct

from gateway.identity.api_keys import ApiKeyVerifier
from gateway.identity.development_tokens import create_development_issuer
from gateway.identity.issuer_keys import IssuerKeys
from gateway.identity.issuers import Issuer
from gateway.identity.key_sources import create_key_source
from gateway.identity.token_verifier import TokenVerifier, TrustedIssuer
from gateway.identity.tokens import Identity
from gateway.settings import IdentitySettings


class NoIssuer(Exception):  # noqa: N818  # an answer to the operator
    """No token could be accepted: set CALLSHEET_IDENTITY_ISSUERS_FILE to a file with the issuers of your tokens.

    For a trial, CALLSHEET_IDENTITY_DEVELOPMENT_TOKENS=true accepts those of `callsheet token`.
    """


class IdentityParts(Struct, frozen=True, kw_only=True):
    """Identity, and what fetches the keys that it needs."""

    identity: Identity
    client: httpx2.AsyncClient
    issuers: tuple[IssuerKeys, ...]

    async def run(self) -> None:
        """Fetch the keys of all issuers, until cancelled. An issuer that is away does not delay the others."""
        async with self.client, asyncio.TaskGroup() as group:
            for keys in self.issuers:
                group.create_task(keys.run(), name="issuer keys")


def check_issuers(settings: IdentitySettings) -> None:
    """Raise NoIssuer unless some token can be accepted."""
    if settings.issuers_file is None and not settings.development_tokens:
        raise NoIssuer(" ".join((NoIssuer.__doc__ or "").split()))


def assemble_identity(
    settings: IdentitySettings, secret: bytes, api_keys: ApiKeyVerifier, clock: Callable[[], datetime]
) -> IdentityParts:
    """Create identity from settings; `secret` signs development tokens, if the settings accept them."""
    client = httpx2.AsyncClient(
        timeout=settings.fetch_seconds_max, follow_redirects=False, trust_env=False, limits=httpx2.Limits()
    )
    fetched: list[IssuerKeys] = []
    trusted: list[TrustedIssuer] = []
    for issuer in settings.issuers_file.issuers if settings.issuers_file is not None else ():
        source = create_key_source(issuer, client, settings.key_document_bytes_max)
        keys = IssuerKeys(issuer.issuer, source, issuer.algorithms, settings, time.monotonic)
        fetched.append(keys)
        trusted.append(trust_issuer(issuer, keys))
    if settings.development_tokens:
        trusted.append(create_development_issuer(secret, settings.workspace_claim))
    verifiers = [TokenVerifier(issuer, clock, settings.clock_skew_seconds) for issuer in trusted]
    identity = Identity(verifiers, api_keys, clock=clock, cached_max=settings.cached_tokens_max)
    return IdentityParts(identity=identity, client=client, issuers=tuple(fetched))


def trust_issuer(issuer: Issuer, keys: IssuerKeys) -> TrustedIssuer:
    """Return an issuer of the settings with its keys."""
    return TrustedIssuer(
        name=issuer.issuer,
        audience=issuer.audience,
        algorithms=tuple(algorithm.value for algorithm in issuer.algorithms),
        workspace_claim=issuer.workspace_claim,
        workspaces=issuer.workspaces,
        keys=keys,
    )
