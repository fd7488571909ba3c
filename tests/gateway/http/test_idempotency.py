"""Idempotency-Key on changes: remembered whatever they came to, and judged before everything else."""

from typing import Any

from tests.support.gateway.given import TRANSFORM_CHAIN, Caller, expect_problem

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
