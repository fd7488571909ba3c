"""API keys over HTTP: created, used, listed, revoked here and on another gateway, and never shown twice."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import pytest

from commands.aggregates import API_KEY
from domain.ids import from_uuid, to_uuid
from gateway.identity.api_key_text import (
    PATTERN,
    encode_secret,
    format_api_key,
    hash_secret,
    is_secret_of,
    parse_api_key,
)
from tests.support.gateway.given import (
    HUMAN,
    TRANSFORM_CHAIN,
    Caller,
    Environment,
    expect_created,
    expect_problem,
    new_id,
    pointers,
)
from tests.support.waiting import eventually

SCOPES: Final = "keys:admin projects:read projects:write workflows:write runs:read runs:write"
REVOKED_SECONDS_MAX: Final = 5.0


@pytest.fixture
def admin(ada: Caller) -> Caller:
    return ada.as_user(ada.user_id, scope=SCOPES)


async def create_key(admin: Caller, **fields: Any) -> dict[str, Any]:  # noqa: ANN401  # fields of a body
    body = {"name": "Robot", "scopes": SCOPES.split(), **fields}
    return expect_created(await admin.post("/v1/api-keys", body))


async def list_keys(admin: Caller) -> list[dict[str, Any]]:
    return (await admin.get("/v1/api-keys")).json()["items"]


def test_an_api_key_is_found_by_its_pattern_and_checked_by_its_checksum() -> None:
    key_id = new_id()
    for number in (0, 1, 2**256 - 1):
        secret = encode_secret(number.to_bytes(32, "big"))
        text = format_api_key(key_id, secret)
        parts = parse_api_key(text)
        assert re.fullmatch(r"cs_live_[0-9a-z]{26}_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}", text)
        assert PATTERN.search(f"token = '{text}'")
        assert parts is not None
        assert (parts.key_id, parts.secret) == (key_id, secret)
        assert secret not in repr(parts)
        for at in range(len("cs_live_"), len(text)):
            changed = f"{text[:at]}{'0' if text[at] != '0' else '1'}{text[at + 1 :]}"
            assert parse_api_key(changed) is None, at
    assert is_secret_of("one", hash_secret("one"))
    assert not is_secret_of("two", hash_secret("one"))


async def test_a_key_acts_for_the_person_who_created_it(admin: Caller, environment: Environment) -> None:
    key = await create_key(admin)
    assert key["secret"].startswith(f"cs_live_{key['id'].removeprefix('key_')}_")
    robot = admin.with_key(key["secret"])
    project = await robot.project("By a robot")
    assert project["team"] == [{"user_id": "usr_ada", "role": "owner"}]
    (fact,) = await environment.core.log.read_stream(to_uuid("prj", project["id"]))
    assert (fact.metadata.actor.kind, fact.metadata.actor.id) == ("api_key", key["id"])
    run = await robot.ended_run(TRANSFORM_CHAIN, {})
    assert run["status"] == "completed"


async def test_only_a_hash_of_the_secret_is_stored(admin: Caller, environment: Environment) -> None:
    key = await create_key(admin)
    secret = key["secret"].split("_")[3]
    stream = await environment.core.streams.reload(API_KEY, to_uuid("key", key["id"]))
    assert stream is not None
    assert stream.state.secret_hash == hash_secret(secret)
    assert secret not in repr(stream)
    assert all("secret" not in listed for listed in await list_keys(admin))


async def test_a_repeated_creation_does_not_show_the_secret_again(admin: Caller) -> None:
    body = {"name": "Robot", "scopes": ["runs:read"]}
    headers = {"idempotency-key": "once"}
    answers = await asyncio.gather(*(admin.post("/v1/api-keys", body, headers=headers) for _ in range(5)))
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert [answer.status_code for answer in answers] == [201] * 5
    shown = [answer for answer in answers if "secret" in answer.json()]
    assert len(shown) == 1
    assert "idempotency-replayed" not in shown[0].headers


async def test_a_key_cannot_do_more_than_its_creator(admin: Caller) -> None:
    body = {"name": "x", "scopes": ["runs:read", "workspace:admin", "assets:read"], "project_ids": ["prj_1"]}
    found = expect_problem(await admin.post("/v1/api-keys", body), 422, "body_unacceptable")
    assert pointers(found) == ["/scopes/1", "/scopes/2", "/project_ids/0"]
    past = {"name": "x", "scopes": ["runs:read"], "expires_at": "2020-01-01T00:00:00Z"}
    assert pointers(expect_problem(await admin.post("/v1/api-keys", past), 422, "body_unacceptable")) == ["/expires_at"]
    robot = admin.with_key((await create_key(admin, scopes=["keys:admin", "projects:read"]))["secret"])
    found = expect_problem(
        await robot.post("/v1/api-keys", {"name": "x", "scopes": ["projects:write"]}), 422, "body_unacceptable"
    )
    assert pointers(found) == ["/scopes/0"]
    expect_problem(await robot.post("/v1/projects", {"name": "x"}), 403, "not_permitted")


async def test_a_key_of_a_bound_key_is_bound_too(admin: Caller) -> None:
    project = (await admin.project())["id"]
    bound = await create_key(admin, project_ids=[project])
    child = await create_key(admin.with_key(bound["secret"]))
    assert child["project_ids"] == [project]


async def test_a_key_loses_the_projects_that_its_creator_leaves(admin: Caller) -> None:
    project = (await admin.project())["id"]
    robot = admin.with_key((await create_key(admin))["secret"])
    assert (await robot.get(f"/v1/projects/{project}")).status_code == 200
    team = {"team": [{"user_id": "usr_bob", "role": "owner"}]}
    assert (await admin.patch(f"/v1/projects/{project}", team)).status_code == 200
    expect_problem(await robot.get(f"/v1/projects/{project}"), 404, "project_not_found")


@pytest.mark.parametrize("change", ["secret", "checksum", "unknown", "cut", "other stream", "case"])
async def test_a_wrong_key_is_refused(admin: Caller, change: str) -> None:
    key = await create_key(admin)
    project = await admin.project()
    prefix, live, key_id, secret, checksum = key["secret"].split("_")
    changed = {
        "secret": format_api_key(to_uuid("key", f"key_{key_id}"), secret[:-1] + ("0" if secret[-1] != "0" else "1")),
        "checksum": f"{prefix}_{live}_{key_id}_{secret}_{'0' * len(checksum)}",
        "unknown": format_api_key(new_id(), secret),
        "cut": key["secret"][:-1],
        "other stream": format_api_key(to_uuid("prj", project["id"]), secret),
        "case": key["secret"].swapcase(),
    }[change]
    answer = await admin.with_key(changed).get("/v1/projects")
    expect_problem(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Bearer ")
    assert secret not in answer.text


async def test_a_key_ends_when_it_expires(admin: Caller) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    robot = admin.with_key((await create_key(admin, expires_at=soon))["secret"])
    assert (await robot.get("/v1/projects")).status_code == 200

    async def has_expired() -> bool:
        return (await robot.get("/v1/projects")).status_code == 401

    await eventually(has_expired, what="the key expires")
    assert "has expired" in expect_problem(await robot.get("/v1/projects"), 401, "unauthenticated")["detail"]


async def test_keys_are_listed_with_their_last_use(admin: Caller) -> None:
    used, unused = await create_key(admin, name="used"), await create_key(admin, name="unused")
    await admin.with_key(used["secret"]).get("/v1/projects")
    listed = {key["name"]: key for key in await list_keys(admin)}
    assert listed["used"]["last_used_at"] is not None
    assert listed["unused"]["last_used_at"] is None
    assert listed["used"] == {
        name: value
        for name, value in {**used, "last_used_at": listed["used"]["last_used_at"]}.items()
        if name != "secret"
    }
    await admin.post(f"/v1/api-keys/{unused['id']}:revoke", {})
    active = (await admin.get("/v1/api-keys?status=active")).json()["items"]
    assert [key["name"] for key in active] == ["used"]


async def test_the_last_use_is_written_once_for_many_requests(admin: Caller, environment: Environment) -> None:
    key = await create_key(admin)
    robot = admin.with_key(key["secret"])
    for _ in range(5):
        await robot.get("/v1/projects")
    uses = environment.gateway.credential_uses
    key_id = to_uuid("key", key["id"])
    await uses.write()
    await uses.write()
    assert (await uses.read([key_id])).keys() == {key_id}


class OpenStream:
    """An event stream of a run that waits for a person, read in the background until it ends."""

    def __init__(self, caller: Caller, run_id: str) -> None:
        """Begin to read."""
        self.begun = asyncio.Event()
        self.reading = asyncio.create_task(self._read(caller, run_id))

    async def _read(self, caller: Caller, run_id: str) -> None:
        headers = {"accept": "text/event-stream", "authorization": f"Bearer {caller.key}"}
        async with caller.client.stream("GET", f"/v1/runs/{run_id}/events", headers=headers) as response:
            assert response.status_code == 200
            async for line in response.aiter_lines():
                if line.startswith("event: step.waiting"):
                    self.begun.set()


async def test_a_revoked_key_stops_everywhere_open_streams_included(
    admin: Caller, other_ada: Caller, environment: Environment, other_environment: Environment
) -> None:
    key = await create_key(admin)
    robot, other_robot = admin.with_key(key["secret"]), other_ada.with_key(key["secret"])
    workflow = await robot.workflow(HUMAN)
    run = (await robot.post(f"/v1/workflows/{workflow['id']}:run", {})).json()
    streams = [OpenStream(caller, run["id"]) for caller in (robot, other_robot)]
    for stream in streams:
        await asyncio.wait_for(stream.begun.wait(), 20)
    waiting = asyncio.create_task(robot.post(f"/v1/workflows/{workflow['id']}:run", {}, headers={"prefer": "wait=30"}))
    await eventually(lambda: count_open(environment, 2), what="the request that waits for a run is open")
    revoked = await admin.post(f"/v1/api-keys/{key['id']}:revoke", {})
    assert revoked.json()["status"] == "revoked"
    async with asyncio.timeout(REVOKED_SECONDS_MAX):
        await asyncio.gather(*(stream.reading for stream in streams))
        expect_problem(await waiting, 401, "unauthenticated")

        async def is_refused() -> bool:
            answers = [await caller.get("/v1/projects") for caller in (robot, other_robot)]
            return [answer.status_code for answer in answers] == [401, 401]

        await eventually(is_refused, what="both gateways refuse the key", seconds=REVOKED_SECONDS_MAX)
    assert len(environment.gateway.open_requests) == len(other_environment.gateway.open_requests) == 0
    again = await admin.post(f"/v1/api-keys/{key['id']}:revoke", {})
    assert again.status_code == 200
    assert again.headers["etag"] == revoked.headers["etag"]


async def test_the_process_that_revoked_a_key_refuses_it_once_the_revocation_is_answered(admin: Caller) -> None:
    for _ in range(20):
        key = await create_key(admin)
        robot = admin.with_key(key["secret"])
        assert (await robot.get("/v1/projects")).status_code == 200
        await admin.post(f"/v1/api-keys/{key['id']}:revoke", {})
        expect_problem(await robot.get("/v1/projects"), 401, "unauthenticated")


async def count_open(environment: Environment, expected: int) -> bool:
    return len(environment.gateway.open_requests) == expected


async def test_a_stream_ends_when_its_reader_leaves_the_team_or_the_token_expires(
    ada: Caller, other_ada: Caller
) -> None:
    admin = ada.as_user("usr_ada", scope=SCOPES)
    workflow = await admin.workflow(HUMAN)
    run = (await admin.post(f"/v1/workflows/{workflow['id']}:run", {})).json()
    soon = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
    expiring, lasting = [(await create_key(admin, **more))["secret"] for more in ({"expires_at": soon}, {})]
    streams = [OpenStream(other_ada.with_key(secret), run["id"]) for secret in (expiring, lasting)]
    for stream in streams:
        await asyncio.wait_for(stream.begun.wait(), 20)
    await asyncio.wait_for(streams[0].reading, 10)
    assert not streams[1].reading.done()
    team = {"team": [{"user_id": "usr_bob", "role": "owner"}]}
    await admin.patch(f"/v1/projects/{workflow['project_id']}", team)
    await asyncio.wait_for(streams[1].reading, REVOKED_SECONDS_MAX)


async def test_a_key_of_another_workspace_cannot_be_revoked(admin: Caller) -> None:
    key = await create_key(admin)
    eve = admin.to(UUID(int=admin.workspace_id.int ^ 1))
    expect_problem(await eve.post(f"/v1/api-keys/{key['id']}:revoke", {}), 404, "api_key_not_found")
    unknown = from_uuid("key", new_id())
    expect_problem(await admin.post(f"/v1/api-keys/{unknown}:revoke", {}), 404, "api_key_not_found")
    assert (await admin.with_key(key["secret"]).get("/v1/projects")).status_code == 200
