"""If-Match and If-None-Match: on reads and changes, with lists, `*`, and tags that a proxy has rewritten."""

import pytest

from tests.support.gateway.given import TRANSFORM_CHAIN, Caller, after_write, expect_problem


@pytest.mark.parametrize("tag", ["{}", "W/{}", '"98", {}', 'W/"98", W/{}', "*"])
async def test_a_read_of_a_version_that_the_caller_has_is_not_modified(ada: Caller, tag: str) -> None:
    created = await ada.post("/v1/projects", {"name": "Spring"})
    path, current = created.headers["location"], created.headers["etag"]
    answer = await ada.get(path, headers={"if-none-match": tag.format(current)})
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", current)
    assert "content-length" not in answer.headers
    await ada.patch(path, {"name": "Summer"})
    changed = await ada.get(path, headers={"if-none-match": current})
    assert (changed.status_code, changed.json()["name"]) == (200, "Summer")
    expect_problem(await ada.get(path, headers={"if-none-match": "3"}), 400, "malformed")


async def test_no_304_rests_on_a_tag_that_derived_fields_do_not_change(ada: Caller) -> None:
    workflow = await ada.workflow(TRANSFORM_CHAIN)
    path = f"/v1/workflows/{workflow['id']}"
    before = await ada.get(path)
    run = await ada.post(f"{path}:run", {})
    headers = {**after_write(run), "if-none-match": before.headers["etag"]}
    after = await ada.get(path, headers=headers)
    assert (after.status_code, after.json()["last_run_id"]) == (200, run.json()["id"])
    assert after.headers["etag"] == before.headers["etag"]


async def test_what_follows_from_its_own_stream_is_revalidated(ada: Caller) -> None:
    run = await ada.ended_run(TRANSFORM_CHAIN, {})
    asset = await ada.post(f"/v1/projects/{run['project_id']}/assets", {"type": "prompt", "label": "Tone"})
    for path in (f"/v1/runs/{run['id']}", f"/v1/assets/{asset.json()['id']}"):
        first = await ada.get(path)
        again = await ada.get(path, headers={"if-none-match": first.headers["etag"]})
        assert (again.status_code, again.headers["cache-control"]) == (304, "private, no-cache")


async def test_a_change_may_require_that_the_resource_is_not_of_some_version(ada: Caller) -> None:
    created = await ada.post("/v1/projects", {"name": "Spring"})
    path, current = created.headers["location"], created.headers["etag"]
    for tag in ("*", current, f'"98", {current}', f"W/{current}"):
        answer = await ada.patch(path, {"name": "x"}, headers={"if-none-match": tag})
        expect_problem(answer, 412, "version_mismatch")
    answer = await ada.patch(path, {"name": "Summer"}, headers={"if-none-match": '"98"', "if-match": current})
    assert answer.json()["name"] == "Summer"


@pytest.mark.parametrize("rewritten", ["W/{}", "{}-gzip", "W/{}-br", "{}--gzip", "{};gzip"])
async def test_a_tag_that_a_compressing_proxy_has_rewritten_still_names_its_version(
    ada: Caller, rewritten: str
) -> None:
    created = await ada.post("/v1/projects", {"name": "Spring"})
    path, version = created.headers["location"], created.headers["etag"].strip('"')
    weak, tag = ("W/", rewritten[2:]) if rewritten.startswith("W/") else ("", rewritten)
    sent = f'{weak}"{tag.format(version)}"'
    answer = await ada.patch(path, {"name": "Summer"}, headers={"if-match": sent})
    assert answer.status_code == 200, answer.text
    expect_problem(await ada.patch(path, {"name": "x"}, headers={"if-match": sent}), 412, "version_mismatch")
