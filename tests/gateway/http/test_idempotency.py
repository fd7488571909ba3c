"""Idempotency-Key on changes: remembered whatever they came to, and judged before everything else."""

from datetime import UTC, datetime, timedelta
from typing import Any

from gateway.identity.scopes import Scope
from tests.support.gateway.given import TRANSFORM_CHAIN, Caller, expect_problem
from tests.support.waiting import eventually

KEY = {"idempotency-key": "once"}


async def test_a_change_that_changed_nothing_is_remembered(ada: Caller) -> None:
    created = await ada.post("/v1/projects", {"name": "Spring"})
    path = created.headers["location"]
    first = await ada.patch(path, {"name": "Spring"}, headers=KEY)
    await ada.patch(path, {"name": "Summer"})
    again = await ada.patch(path, {"name": "Spring"}, headers=KEY)
    assert (again.status_code, again.content) == (200, first.content)
    assert (again.headers["idempotency-replayed"], again.headers["etag"]) == ("true", first.headers["etag"])
    assert (await ada.get(path)).json()["name"] == "Summer", "the repeat is not a second change"
    expect_problem(await ada.patch(path, {"name": "Autumn"}, headers=KEY), 422, "idempotency_key_reused")


async def test_a_repeated_verb_that_changed_nothing_is_remembered(ada: Caller) -> None:
    run = await ada.ended_run(TRANSFORM_CHAIN, {})
    path = f"/v1/workflows/{run['workflow_id']}"
    assert (await ada.patch(path, {"status": "archived"})).status_code == 200
    first = await ada.patch(path, {"status": "archived"}, headers=KEY)
    await ada.patch(path, {"status": "active"})
    again = await ada.patch(path, {"status": "archived"}, headers=KEY)
    assert {**again.json(), "last_run_id": run["id"]} == {**first.json(), "last_run_id": run["id"]}, (
        "but derived fields"
    )
    assert again.headers["idempotency-replayed"] == "true"
    assert (await ada.get(path)).json()["status"] == "active"


async def test_a_lost_answer_of_a_change_is_repeated_whatever_its_preconditions(ada: Caller) -> None:
    created = await ada.post("/v1/projects", {"name": "Spring"})
    path, tag = created.headers["location"], created.headers["etag"]
    first = await ada.patch(path, {"name": "Summer"}, headers={**KEY, "if-match": tag})
    for preconditions in ({"if-match": tag}, {"if-none-match": "*"}, {"if-match": '"not-one-of-ours"'}):
        again = await ada.patch(path, {"name": "Summer"}, headers={**KEY, **preconditions})
        assert (again.status_code, again.content) == (200, first.content)


async def test_a_repeated_patch_is_not_merged_into_the_state_that_it_made(ada: Caller) -> None:
    project = await ada.project()
    body: dict[str, Any] = {"type": "prompt", "label": "Tone", "content": "warm"}
    asset = (await ada.post(f"/v1/projects/{project['id']}/assets", body)).json()
    path = f"/v1/assets/{asset['id']}"
    first = await ada.patch(path, {"label": "Voice"}, headers=KEY)
    await ada.patch(f"/v1/projects/{project['id']}", {"status": "archived"})
    again = await ada.patch(path, {"label": "Voice"}, headers=KEY)
    assert (again.status_code, again.content) == (200, first.content)
    refused = await ada.patch(path, {"label": "Other"})
    expect_problem(refused, 409, "project_not_active")


async def test_a_repeat_is_not_refused_for_a_time_that_has_passed_since(ada: Caller) -> None:
    admin = ada.as_user(ada.user_id, scope=" ".join(Scope))
    soon = (datetime.now(UTC) + timedelta(seconds=3)).isoformat()
    requests: list[tuple[str, dict[str, Any]]] = [
        ("/v1/announcements", {"title": "Maintenance", "ends_at": soon}),
        ("/v1/api-keys", {"name": "Report", "scopes": ["runs:read"], "expires_at": soon}),
    ]
    first = [await admin.post(path, body, headers=KEY) for path, body in requests]
    assert [answer.status_code for answer in first] == [201, 201]

    async def has_passed() -> bool:
        return (await admin.post("/v1/announcements", requests[0][1])).status_code == 422

    await eventually(has_passed, what="the time has passed")
    for (path, body), answer in zip(requests, first, strict=True):
        again = await admin.post(path, body, headers=KEY)
        assert (again.status_code, again.json()["id"]) == (201, answer.json()["id"])
        assert again.headers["idempotency-replayed"] == "true"
        expect_problem(await admin.post(path, body), 422, "body_unacceptable")
