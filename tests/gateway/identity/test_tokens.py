"""Identity: who is believed, and what is found to those who are not."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import jwt
import pytest

from domain.ids import from_uuid
from gateway.http.rejections import NotPermitted, Unauthenticated
from gateway.identity.development_tokens import ISSUER, create_development_issuer
from gateway.identity.token_verifier import TokenVerifier
from gateway.identity.tokens import Identity
from tests.support.gateway.given import SECRET, Caller, expect_problem, new_id
from tests.support.identity.api_keys import create_unused_verifier

NOW = datetime(2026, 5, 1, tzinfo=UTC)
WORKSPACE = new_id()


class Clock:
    """Stands at a time until it is moved."""

    def __init__(self) -> None:
        """Begin now, since the library that verifies tokens has a clock of its own."""
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


def claims(**changed: object) -> dict[str, Any]:
    whole = {
        "iss": ISSUER,
        "sub": "usr_ada",
        "workspace": from_uuid("ws", WORKSPACE),
        "exp": datetime.now(UTC) + timedelta(hours=1),
        **changed,
    }
    return {name: value for name, value in whole.items() if value is not None}


def header(key: str | bytes = SECRET.reveal(), algorithm: str = "HS256", **changed: object) -> bytes:
    signed: str = jwt.encode(claims(**changed), key, algorithm=algorithm)  # pyright: ignore[reportUnknownMemberType]  # the library leaves a type open
    return f"Bearer {signed}".encode()


def identity(clock: Clock | None = None, cached_max: int = 10) -> Identity:
    clock = clock or Clock()
    verifier = TokenVerifier(create_development_issuer(SECRET.reveal().encode(), "workspace"), clock, skew_seconds=5)
    return Identity([verifier], create_unused_verifier(), clock=clock, cached_max=cached_max)


async def test_a_token_tells_the_user_and_the_workspace() -> None:
    caller = await identity().identify(header())
    assert caller.workspace_id == WORKSPACE
    assert type(caller.workspace_id) is UUID
    assert (caller.actor.kind, caller.actor.id) == ("user", "usr_ada")
    assert caller.scopes is None


@pytest.mark.parametrize("scope", ["runs:read runs:write", ["runs:read", "runs:write"]])
async def test_scopes_limit_a_token(scope: object) -> None:
    caller = await identity().identify(header(scope=scope))
    caller.require("runs:read")
    with pytest.raises(NotPermitted):
        caller.require("projects:read")


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        b"",
        b"Bearer",
        b"Bearer ",
        b"Bearer x.y.z",
        b"Basic dXNlcjpwYXNz",
        b"Bearer " + b"x" * 9_000,
        b"Bearer \xff\xfe",
        header(key="another secret of the tests, just as long"),
        header(key="", algorithm="none"),
        header(key=SECRET.reveal() * 2, algorithm="HS512"),
        header(sub=None),
        header(sub=""),
        header(sub=7),
        header(sub="a\0b"),
        header(workspace=None),
        header(workspace="ws_nonsense"),
        header(workspace=from_uuid("prj", WORKSPACE)),
        header(workspace=["ws"]),
        header(exp=None),
        header(exp=datetime.now(UTC) - timedelta(seconds=1)),
        header(exp="soon"),
        header(exp="99999999999"),
        header(exp=True),
        header(nbf=datetime.now(UTC) + timedelta(hours=1)),
        header(scope=7),
        header(scope=["runs:read", 7]),
    ],
)
async def test_anything_else_is_not_believed(authorization: bytes | None) -> None:
    with pytest.raises(Unauthenticated) as caught:
        await identity().identify(authorization)
    assert caught.value.headers["WWW-Authenticate"].startswith("Bearer ")


def break_signature(token: bytes) -> bytes:
    """Change the signature of a token."""
    return token[:-3] + (b"abc" if token[-3:] != b"abc" else b"cba")


@pytest.mark.parametrize(
    ("authorization", "says"),
    [
        (b"Bearer abc", "is a JWT: three parts"),
        (b"Bearer x.y.z", "is a JWT: three parts"),
        (b"Bearer ", "is a JWT: three parts"),
        (b"Bearer " + b"x" * 9_000, "longer than 8192 bytes"),
        (b"Basic dXNlcjpwYXNz", "Authorization: Bearer <token>"),
        (header().removeprefix(b"Bearer "), "Authorization: Bearer <token>"),
        (break_signature(header()), "signature of the token is wrong"),
        (header(iss="https://evil.test"), "an issuer that this server trusts"),
        (header(key="another secret of the tests, just as long"), "signature of the token is wrong"),
        (header(key=SECRET.reveal() * 2, algorithm="HS512"), "must be signed with HS256"),
        (header(key="", algorithm="none"), "is a JWT: three parts"),
        (header(exp=datetime.now(UTC) - timedelta(seconds=1)), "has expired. Request a new one"),
        (header(nbf=datetime.now(UTC) + timedelta(hours=1)), "not valid yet"),
        (header(exp=None), "lacks the claim `exp`"),
        (header(sub=None), "lacks the claim `sub`"),
        (header(workspace=None), "lacks the claim `workspace`"),
        (header(exp="soon"), "`exp` must be a number"),
        (header(sub=7), "`sub` must be a printable string"),
        (header(workspace="ws_nonsense"), "must be the id of a workspace (`ws_…`)"),
    ],
)
async def test_who_is_not_believed_is_told_what_to_do(authorization: bytes, says: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        await identity().identify(authorization)
    assert says in caught.value.detail
    assert "segment" not in caught.value.detail
    assert "padding" not in caught.value.detail


async def test_a_remembered_token_still_expires() -> None:
    clock = Clock()
    who = identity(clock)
    token = header()
    await who.identify(token)
    assert await who.identify(token) is await who.identify(token)
    clock.now += timedelta(hours=1)
    with pytest.raises(Unauthenticated):
        await who.identify(token)
    with pytest.raises(Unauthenticated):
        await who.identify(token)


async def test_no_more_tokens_are_remembered_than_settings_say() -> None:
    who = identity(cached_max=2)
    first, second, third = (header(sub=name) for name in ("usr_a", "usr_b", "usr_c"))
    remembered = await who.identify(first)
    await who.identify(second)
    assert await who.identify(first) is remembered
    await who.identify(third)
    assert await who.identify(first) is remembered
    again = await who.identify(second)
    assert again.actor.id == "usr_b"


async def test_a_request_without_a_token_is_told_how(ada: Caller) -> None:
    answer = await ada.client.get("/v1/projects")
    expect_problem(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"] == 'Bearer realm="callsheet"'


async def test_a_request_with_a_bad_token_is_told_why(ada: Caller) -> None:
    answer = await ada.client.get("/v1/projects", headers={"authorization": "Bearer x"})
    found = expect_problem(answer, 401, "unauthenticated")
    assert "three parts" in found["detail"]
    assert answer.headers["www-authenticate"] == 'Bearer realm="callsheet", error="invalid_token"'


async def test_a_scope_that_is_lacking_is_named(ada: Caller) -> None:
    token = header(workspace=from_uuid("ws", ada.workspace_id), scope="projects:read").decode()
    assert (await ada.client.get("/v1/projects", headers={"authorization": token})).status_code == 200
    answer = await ada.client.post("/v1/projects", json={"name": "x"}, headers={"authorization": token})
    assert "projects:write" in expect_problem(answer, 403, "not_permitted")["detail"]
