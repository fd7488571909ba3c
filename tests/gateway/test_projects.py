"""Projects over HTTP, and what all routes have in common: tags, merge patches, repeats, positions, pages."""

import asyncio

from tests.support.gateway.given import Caller, after_write, expect_created, expect_problem, pointers


async def test_a_project_is_created_read_and_changed(ada: Caller) -> None:
    answer = await ada.post(
        "/v1/projects",
        {"name": "Spring", "team": [{"user_id": "usr_bob", "role": "editor"}], "settings": {"tone": "warm"}},
    )
    project = expect_created(answer)
    assert answer.headers["location"] == f"/v1/projects/{project['id']}"
    assert project["status"] == "active"
    assert project["team"] == [{"user_id": "usr_ada", "role": "owner"}, {"user_id": "usr_bob", "role": "editor"}]
    assert project["created_at"].endswith("Z")
    read = await ada.get(answer.headers["location"], headers=after_write(answer))
    assert (read.status_code, read.json(), read.headers["etag"]) == (200, project, answer.headers["etag"])
    changed = await ada.patch(answer.headers["location"], {"name": "Summer"})
    assert changed.status_code == 200
    assert changed.json()["name"] == "Summer"
    assert changed.headers["etag"] != answer.headers["etag"]
    later = await ada.get(answer.headers["location"], headers=after_write(changed))
    assert later.json() == changed.json()


async def test_a_patch_merges_objects_and_replaces_lists(ada: Caller) -> None:
    project = expect_created(
        await ada.post("/v1/projects", {"name": "x", "settings": {"a": {"b": 1, "c": 2}, "d": [1, 2], "e": 5}})
    )
    path = f"/v1/projects/{project['id']}"
    answer = await ada.ask(
        "PATCH",
        path,
        content=b'{"settings": {"a": {"b": null, "z": {"y": null}}, "d": [3], "e": null}}',
        headers={"content-type": "application/merge-patch+json"},
    )
    assert answer.json()["settings"] == {"a": {"c": 2, "z": {}}, "d": [3]}
    emptied = await ada.patch(path, {"settings": None})
    assert emptied.json()["settings"] == {}
    team = [{"user_id": "usr_bob", "role": "owner"}]
    assert (await ada.patch(path, {"team": team})).json()["team"] == team
    bob = ada.as_user("usr_bob")
    expect_problem(await ada.patch(path, {"name": "y"}), 404, "project_not_found")
    expect_problem(await bob.patch(path, {"team": [{"user_id": "usr_bob", "role": "viewer"}]}), 409, "last_owner")
    assert pointers(expect_problem(await bob.patch(path, {"name": None, "team": None}), 422, "body_unacceptable")) == [
        "/name",
        "/team",
    ]


async def test_racing_patches_of_one_object_lose_none_of_it(ada: Caller) -> None:
    project = await ada.project()
    path = f"/v1/projects/{project['id']}"
    for _ in range(5):
        await asyncio.gather(*(ada.patch(path, {"settings": {key: key}}) for key in ("a", "b")))
        settings = (await ada.patch(path, {})).json()["settings"]
        assert settings == {"a": "a", "b": "b"}
        await ada.patch(path, {"settings": None})


async def test_a_patch_that_changes_nothing_keeps_the_version(ada: Caller) -> None:
    answer = await ada.post("/v1/projects", {"name": "Spring"})
    again = await ada.patch(answer.headers["location"], {"name": "Spring"})
    assert again.headers["etag"] == answer.headers["etag"]


async def test_a_stale_if_match_is_refused_and_a_current_one_is_not(ada: Caller) -> None:
    answer = await ada.post("/v1/projects", {"name": "Spring"})
    path, first = answer.headers["location"], answer.headers["etag"]
    second = (await ada.patch(path, {"name": "Summer"}, headers={"if-match": first})).headers["etag"]
    expect_problem(await ada.patch(path, {"name": "Autumn"}, headers={"if-match": first}), 412, "version_mismatch")
    for wanted in (second, f"{first}, {second}", "*"):
        assert (await ada.patch(path, {"name": "Summer"}, headers={"if-match": wanted})).status_code == 200
    for wanted in (f"W/{first}", '"not-one-of-ours"', '""'):
        expect_problem(await ada.patch(path, {"name": "x"}, headers={"if-match": wanted}), 412, "version_mismatch")
    expect_problem(await ada.patch(path, {"name": "x"}, headers={"if-match": "2"}), 400, "malformed")


async def test_a_repeated_creation_gives_the_first_answer_again(ada: Caller) -> None:
    key = {"idempotency-key": '"one"'}
    first = await ada.post("/v1/projects", {"name": "Spring"}, headers=key)
    again = await ada.post("/v1/projects", {"name": "Spring"}, headers=key)
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    for name in ("etag", "location", "callsheet-position"):
        assert again.headers[name] == first.headers[name]
    listed = await ada.get("/v1/projects", headers=after_write(first))
    assert len(listed.json()["items"]) == 1
    expect_problem(await ada.post("/v1/projects", {"name": "Summer"}, headers=key), 422, "idempotency_key_reused")


async def test_racing_repeats_take_effect_once(ada: Caller) -> None:
    key = {"idempotency-key": "raced"}
    answers = await asyncio.gather(*(ada.post("/v1/projects", {"name": "x"}, headers=key) for _ in range(8)))
    assert {answer.json()["id"] for answer in answers} == {answers[0].json()["id"]}
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1


async def test_a_repeated_change_gives_the_first_answer_even_when_its_if_match_is_stale_by_then(ada: Caller) -> None:
    created_answer = await ada.post("/v1/projects", {"name": "Spring"})
    path = created_answer.headers["location"]
    headers = {"idempotency-key": "change", "if-match": created_answer.headers["etag"]}
    first = await ada.patch(path, {"name": "Summer"}, headers=headers)
    assert first.status_code == 200
    await ada.patch(path, {"name": "Autumn"})
    again = await ada.patch(path, {"name": "Summer"}, headers=headers)
    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["idempotency-replayed"] == "true"


async def test_a_key_belongs_to_its_route_and_its_user(ada: Caller) -> None:
    key = {"idempotency-key": "one"}
    first = expect_created(await ada.post("/v1/projects", {"name": "x"}, headers=key))
    bob = type(ada)(client=ada.client, workspace_id=ada.workspace_id, user_id="usr_bob")
    second = expect_created(await bob.post("/v1/projects", {"name": "x"}, headers=key))
    assert first["id"] != second["id"]
    asset = await ada.post(f"/v1/projects/{first['id']}/assets", {"type": "prompt", "label": "x"}, headers=key)
    assert asset.status_code == 201


async def test_an_idempotency_key_that_cannot_be_read_is_refused(ada: Caller) -> None:
    for key in ("x" * 256, "two words", ""):
        answer = await ada.post("/v1/projects", {"name": "x"}, headers={"idempotency-key": key})
        expect_problem(answer, 400, "malformed")


async def test_pages_hold_everything_once_while_more_is_made(ada: Caller) -> None:
    for number in range(4):
        await ada.project(str(number))
    last = await ada.post("/v1/projects", {"name": "4"})
    seen: list[str] = []
    answer = await ada.get("/v1/projects?limit=2", headers=after_write(last))
    while True:
        page = answer.json()
        seen.extend(item["name"] for item in page["items"])
        if page["next_cursor"] is None:
            break
        assert page["next_cursor"] in answer.headers["link"]
        more = await ada.post("/v1/projects", {"name": "new"})
        following = answer.headers["link"].split(">")[0].removeprefix("<")
        assert answer.headers["link"].endswith('; rel="next"')
        answer = await ada.get(following, headers=after_write(more))
    assert seen == ["4", "3", "2", "1", "0"]
    assert "link" not in answer.headers


async def test_lists_are_sorted_and_filtered(ada: Caller) -> None:
    first = await ada.post("/v1/projects", {"name": "a"})
    await ada.post("/v1/projects", {"name": "b"})
    last = await ada.patch(first.headers["location"], {"status": "archived"})

    async def names(query: str) -> list[str]:
        answer = await ada.get(f"/v1/projects?{query}", headers=after_write(last))
        return [item["name"] for item in answer.json()["items"]]

    assert await names("sort=created_at") == ["a", "b"]
    assert await names("sort=-created_at") == ["b", "a"]
    assert await names("sort=-updated_at") == ["a", "b"]
    assert await names("status=archived") == ["a"]
    assert await names("name=b") == ["b"]


async def test_a_cursor_of_another_log_is_told_apart(ada: Caller) -> None:
    await ada.project("a")
    last = await ada.post("/v1/projects", {"name": "b"})
    page = (await ada.get("/v1/projects?limit=1", headers=after_write(last))).json()
    cursor: str = page["next_cursor"]
    expect_problem(await ada.get(f"/v1/projects?cursor={cursor}&sort=updated_at"), 400, "malformed")
    other = "WyIwMDAwMDAwMDAwMDAiLCItY3JlYXRlZF9hdCIsMV0"  # ["000000000000","-created_at",1]
    expect_problem(await ada.get(f"/v1/projects?cursor={other}"), 410, "cursor_reset")


async def test_a_position_that_is_not_reached_in_time_is_said(ada: Caller) -> None:
    answer = await ada.get("/v1/projects", headers={"callsheet-min-position": "999999999"})
    expect_problem(answer, 503, "projection_behind")
    assert answer.headers["retry-after"] == "1"
    expect_problem(await ada.get("/v1/projects", headers={"callsheet-min-position": "x"}), 400, "malformed")


async def test_an_archived_project_takes_changes_only_with_its_restoration(ada: Caller) -> None:
    project = await ada.project()
    path = f"/v1/projects/{project['id']}"
    assert (await ada.patch(path, {"status": "archived"})).json()["status"] == "archived"
    expect_problem(await ada.patch(path, {"name": "x"}), 409, "project_not_active")
    expect_problem(await ada.post(f"{path}/assets", {"type": "prompt", "label": "x"}), 409, "project_not_active")
    assert (await ada.patch(path, {"name": "x", "status": "active"})).json()["name"] == "x"
