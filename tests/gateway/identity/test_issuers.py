"""Tokens of a real OpenID provider: discovery, all algorithms, rotation, and a provider that is slow or away."""

import asyncio
import signal
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace

from gateway.http.rejections import Unauthenticated
from gateway.identity.assembly import IdentityParts, assemble_identity
from gateway.identity.caller import Caller
from gateway.identity.issuer_keys import IssuerUnavailable
from gateway.identity.issuers import Algorithm, Issuer, IssuersFile
from gateway.settings import IdentitySettings
from tests.support.gateway.given import SECRET, new_id, sign_token
from tests.support.identity.api_keys import create_unused_verifier
from tests.support.identity.openid_provider import OpenIdProvider
from tests.support.waiting import eventually

WORKSPACE: Final = new_id()
UNKNOWN_KEY_SECONDS: Final = 0.05


@pytest.fixture(scope="module")
def provider() -> Generator[OpenIdProvider]:
    with OpenIdProvider(WORKSPACE) as provider:
        yield provider


def settings_for(*issuers: Issuer, **changed: float) -> IdentitySettings:
    file = IssuersFile.__new__(IssuersFile)
    file.issuers = issuers
    settings = IdentitySettings(
        issuers_file=file, development_tokens=True, fetch_seconds_max=2, unknown_key_seconds=UNKNOWN_KEY_SECONDS
    )
    return replace(settings, **changed)


@asynccontextmanager
async def running(settings: IdentitySettings) -> AsyncGenerator[IdentityParts]:
    """Fetch keys for the length of a block."""
    parts = assemble_identity(settings, SECRET.reveal().encode(), create_unused_verifier(), lambda: datetime.now(UTC))
    task = asyncio.create_task(parts.run())
    try:
        yield parts
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def identify(parts: IdentityParts, token: str) -> Caller:
    return await parts.identity.identify(f"Bearer {token}".encode())


@pytest.mark.parametrize("algorithm", Algorithm)
async def test_a_token_of_an_openid_provider_is_accepted(provider: OpenIdProvider, algorithm: Algorithm) -> None:
    async with running(settings_for(provider.trust())) as parts:
        caller = await identify(parts, await provider.fetch_token(algorithm))
    assert (caller.workspace_id, caller.actor.id) == (WORKSPACE, "robot")


async def test_an_algorithm_that_the_issuer_is_not_trusted_with_is_refused(provider: OpenIdProvider) -> None:
    async with running(settings_for(provider.trust(Algorithm.ES256))) as parts:
        with pytest.raises(Unauthenticated, match="must be signed with ES256"):
            await identify(parts, await provider.fetch_token(Algorithm.RS256))


async def test_a_workspace_that_the_issuer_is_not_trusted_for_is_refused(provider: OpenIdProvider) -> None:
    trusted = Issuer(
        issuer=provider.url, audience="https://callsheet.test", algorithms=tuple(Algorithm), workspaces=frozenset()
    )
    async with running(settings_for(trusted)) as parts:
        with pytest.raises(Unauthenticated, match="not trusted for"):
            await identify(parts, await provider.fetch_token(Algorithm.ES256))


async def test_keys_rotate_beside_traffic(provider: OpenIdProvider) -> None:
    async with running(settings_for(provider.trust())) as parts:
        old = await provider.fetch_token(Algorithm.ES256)
        await identify(parts, old)
        served = 0

        async def keep_asking() -> None:
            nonlocal served
            while True:
                await identify(parts, sign_token(UUID(int=1), f"usr_{served}"))
                served += 1
                await asyncio.sleep(0)

        traffic = asyncio.create_task(keep_asking())
        for _ in range(3):
            await provider.rotate_keys()
            new = [await provider.fetch_token(algorithm) for algorithm in Algorithm]
            callers = await asyncio.gather(*(identify(parts, token) for token in new))
            assert {caller.actor.id for caller in callers} == {"robot"}
            await asyncio.sleep(UNKNOWN_KEY_SECONDS)  # the bound between two fetches for unknown keys
        traffic.cancel()
        assert served > 10
        with pytest.raises(Unauthenticated):  # though it was accepted and cached before its key was withdrawn
            await identify(parts, old)


async def test_a_provider_that_is_killed_and_comes_back(provider: OpenIdProvider) -> None:
    async with running(settings_for(provider.trust(), keys_refresh_seconds=0.05)) as parts:
        before = await provider.fetch_token(Algorithm.RS256)
        other = await provider.fetch_token(Algorithm.ES256)
        await identify(parts, before)
        provider.kill()
        fetches = parts.issuers[0].fetches

        async def has_failed_to_fetch() -> bool:
            return parts.issuers[0].fetches >= fetches + 3

        await eventually(has_failed_to_fetch, what="three fetches from a dead provider")
        assert (await identify(parts, other)).actor.id == "robot"  # the keys that were fetched are still used
        provider.start()
        after = await provider.fetch_token(Algorithm.RS256)

        async def is_accepted() -> bool:
            try:
                await identify(parts, after)
            except Unauthenticated:
                return False
            return True

        await eventually(is_accepted, what="a token with a new key is accepted")


async def test_a_provider_that_never_answers_delays_nobody_else(provider: OpenIdProvider) -> None:
    token = await provider.fetch_token(Algorithm.RS256)
    async with running(settings_for(provider.trust(), fetch_seconds_max=0.5)) as parts:
        await identify(parts, token)
        unknown = sign_with_unknown_key(provider)
        provider.pause(signal.SIGSTOP)
        try:
            waiting = [asyncio.create_task(identify(parts, f"{unknown}{n:02}")) for n in range(20)]
            await asyncio.sleep(0)
            async with asyncio.timeout(0.2):
                await identify(parts, token)
                await identify(parts, sign_token(WORKSPACE))
            results = await asyncio.gather(*waiting, return_exceptions=True)
            assert {type(result) for result in results} == {Unauthenticated}
        finally:
            provider.pause(signal.SIGCONT)


def sign_with_unknown_key(provider: OpenIdProvider) -> str:
    """Return a token of the provider whose key id it does not know; two more letters complete the signature."""
    signed: str = jwt.encode({"iss": provider.url}, Ed25519PrivateKey.generate(), "EdDSA", headers={"kid": "unknown"})
    return signed[:-2]


async def test_an_issuer_that_was_never_reached_is_unavailable() -> None:
    dead = Issuer(issuer="http://127.0.0.1:1", audience="x", algorithms=(Algorithm.ES256,))
    async with running(settings_for(dead)) as parts:
        with pytest.raises(IssuerUnavailable):
            await identify(parts, sign_with_issuer(dead.issuer))
        await identify(parts, sign_token(WORKSPACE))


def sign_with_issuer(issuer: str) -> str:
    return jwt.encode({"iss": issuer}, generate_private_key(SECP256R1()), "ES256", headers={"kid": "one"})


async def test_unknown_keys_cause_one_fetch_in_the_interval(provider: OpenIdProvider) -> None:
    async with running(settings_for(provider.trust(), unknown_key_seconds=60)) as parts:
        await identify(parts, await provider.fetch_token(Algorithm.ES256))
        fetches = parts.issuers[0].fetches
        unknown = sign_with_unknown_key(provider)
        for n in range(50):
            with pytest.raises(Unauthenticated):
                await identify(parts, f"{unknown}{n:02}")
        assert parts.issuers[0].fetches == fetches


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[]", "length >= 1"),
        ('[{"issuer": "https://id.test"}]', "missing required field `audience`"),
        ('[{"issuer": "https://id.test", "audience": "x", "algorithms": ["HS256"]}]', "Invalid enum value 'HS256'"),
        ('[{"issuer": "http://id.test", "audience": "x", "algorithms": ["RS256"]}]', "must be an `https://` URL"),
        ('[{"issuer": "https://id.test", "audience": "x", "algorithms": ["RS256"], "jwk_url": "x"}]', "unknown field"),
        ("{", "is invalid"),
    ],
)
def test_an_issuers_file_that_cannot_be_used_is_refused(tmp_path: Path, content: str, says: str) -> None:
    file = tmp_path / "issuers.json"
    file.write_text(content)
    with pytest.raises(ValueError, match=says):
        IssuersFile(str(file))
