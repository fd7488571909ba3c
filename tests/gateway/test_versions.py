"""Versions of workflows and assets over HTTP: listed newest first, and each read as it was."""

import pytest

from tests.support.gateway.given import TRANSFORM_CHAIN, Caller, expect_created, expect_problem


async def test_the_versions_of_a_workflow_stay_as_they_were(ada: Caller) -> None:
    workflow = await ada.workflow(TRANSFORM_CHAIN)
    path = f"/v1/workflows/{workflow['id']}"
    nodes = [{"id": "only", "kind": "transform", "config": {"expression": "inputs"}}]
    for change in ({"name": "Renamed"}, {"nodes": nodes, "edges": []}):
        assert (await ada.patch(path, change)).status_code == 200
    items = (await ada.get(f"{path}/versions")).json()["items"]
    assert [(item["workflow_id"], item["version"]) for item in items] == [(workflow["id"], 2), (workflow["id"], 1)]
    first, second = [(await ada.get(f"{path}/versions/{number}")).json() for number in (1, 2)]
    assert (first["nodes"], first["edges"]) == (workflow["nodes"], workflow["edges"])
    assert [node["id"] for node in second["nodes"]] == ["only"]
    assert first["created_at"] == workflow["created_at"]


async def test_the_versions_of_an_asset_come_in_pages_with_whole_contents(ada: Caller) -> None:
    project = (await ada.project())["id"]
    contents = ["v1", "x" * 60_000, "v3"]
    asset = expect_created(
        await ada.post(f"/v1/projects/{project}/assets", {"type": "prompt", "label": "Tone", "content": contents[0]})
    )
    path = f"/v1/assets/{asset['id']}"
    for content in contents[1:]:
        assert (await ada.patch(path, {"content": content})).status_code == 200
    page = await ada.get(f"{path}/versions?limit=2")
    assert [item["version"] for item in page.json()["items"]] == [3, 2]
    rest = await ada.get(page.headers["link"].partition(">")[0].removeprefix("<"))
    assert [item["version"] for item in rest.json()["items"]] == [1]
    assert rest.json()["next_cursor"] is None
    read = [(await ada.get(f"{path}/versions/{number}")).json() for number in (1, 2, 3)]
    assert [version["content"] for version in read] == contents


@pytest.mark.parametrize("number", ["0", "2", "-1", "one", "01x", "9" * 30, "%31x"])
async def test_a_version_that_never_was_is_not_found(ada: Caller, number: str) -> None:
    workflow = await ada.workflow(TRANSFORM_CHAIN)
    answer = await ada.get(f"/v1/workflows/{workflow['id']}/versions/{number}")
    expect_problem(answer, 404, "workflow_version_not_found")
    asset = expect_created(
        await ada.post(f"/v1/projects/{workflow['project_id']}/assets", {"type": "prompt", "label": "Tone"})
    )
    expect_problem(await ada.get(f"/v1/assets/{asset['id']}/versions/{number}"), 404, "asset_version_not_found")
