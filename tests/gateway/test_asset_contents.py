"""Files of media assets over HTTP: uploaded within a bound, read back in their media type, and used in graphs."""

from typing import Any

import pytest

from tests.gateway.conftest import SETTINGS
from tests.support.gateway.given import Caller, expect_created, expect_problem, pointers

PNG = b"\x89PNG\r\n\x1a\n\x00\xff"
AS_PNG = {"content-type": "image/png"}


async def create_media(ada: Caller) -> dict[str, Any]:
    project = await ada.project()
    return expect_created(await ada.post(f"/v1/projects/{project['id']}/assets", {"type": "media", "label": "Logo"}))


async def test_a_file_is_uploaded_and_read_in_its_media_type(ada: Caller) -> None:
    asset = await create_media(ada)
    assert (asset["content"], asset["version"]) == (None, 1)
    path = f"/v1/assets/{asset['id']}"
    headers = {**AS_PNG, "idempotency-key": "logo"}
    answer = await ada.ask("POST", f"{path}:upload", content=PNG, headers=headers)
    assert answer.status_code == 200, answer.text
    content = answer.json()["content"]
    assert (content["media_type"], content["bytes"], answer.json()["version"]) == ("image/png", len(PNG), 2)
    again = await ada.ask("POST", f"{path}:upload", content=PNG, headers=headers)
    assert (again.headers["idempotency-replayed"], again.json()) == ("true", answer.json())
    file = await ada.get(content["url"])
    assert (file.content, file.headers["content-type"]) == (PNG, "image/png")
    await ada.ask("POST", f"{path}:upload", content=b"<svg/>", headers={"content-type": "image/svg+xml"})
    newer = (await ada.get(path)).json()["content"]
    shown = await ada.get(newer["url"])
    assert (shown.content, shown.headers["content-type"]) == (b"<svg/>", "application/octet-stream")
    assert (await ada.get(f"{path}/versions/2")).json()["content"] == content
    assert (await ada.get(content["url"])).content == PNG
    topics = [event["type"] for event in (await ada.get(f"/v1/projects/{asset['project_id']}/events")).json()["items"]]
    assert topics[-2:] == ["asset.content-revised"] * 2


async def test_what_is_no_upload_is_refused(ada: Caller) -> None:
    asset = await create_media(ada)
    path = f"/v1/assets/{asset['id']}:upload"
    expect_problem(await ada.ask("POST", path, content=b"", headers=AS_PNG), 400, "malformed")
    expect_problem(await ada.ask("POST", path, content=PNG), 415, "media_type_unsupported")
    expect_problem(await ada.post(path, {"a": 1}), 415, "media_type_unsupported")
    large = b"x" * (SETTINGS.http.upload_bytes_max + 1)
    expect_problem(await ada.ask("POST", path, content=large, headers=AS_PNG), 413, "body_too_large")
    changed = await ada.patch(f"/v1/assets/{asset['id']}", {"content": "text"})
    assert pointers(expect_problem(changed, 422, "asset_content_unacceptable")) == ["/content"]
    prompt = {"type": "prompt", "label": "Tone"}
    other = expect_created(await ada.post(f"/v1/projects/{asset['project_id']}/assets", prompt))
    refused = await ada.ask("POST", f"/v1/assets/{other['id']}:upload", content=PNG, headers=AS_PNG)
    expect_problem(refused, 422, "asset_content_unacceptable")


async def test_a_file_is_read_only_from_an_asset_that_has_it(ada: Caller) -> None:
    asset, other = await create_media(ada), await create_media(ada)
    answer = await ada.ask("POST", f"/v1/assets/{asset['id']}:upload", content=PNG, headers=AS_PNG)
    digest = answer.json()["content"]["content"].removeprefix("sha256:")
    for wrong in (f"{other['id']}/contents/{digest}", f"{asset['id']}/contents/{'0' * 64}"):
        expect_problem(await ada.get(f"/v1/assets/{wrong}"), 404, "content_not_found")


@pytest.mark.parametrize("kind", ["image", "file"])
async def test_a_graph_names_media_assets_of_its_project_only(ada: Caller, kind: str) -> None:
    asset, other = await create_media(ada), await create_media(ada)
    tone = {"type": "prompt", "label": "Tone"}
    prompt = expect_created(await ada.post(f"/v1/projects/{asset['project_id']}/assets", tone))

    def create_graph(*ids: str) -> dict[str, Any]:
        parts = [{"type": kind, "asset_id": asset_id} for asset_id in ids]
        config = {"model": "scripted/a", "messages": [{"template": "Hi"}, {"parts": parts}]}
        return {"name": "Look", "nodes": [{"id": "look", "kind": "prompt", "config": config}]}

    path = f"/v1/projects/{asset['project_id']}/workflows"
    expect_created(await ada.post(path, create_graph(asset["id"])))
    refused = await ada.post(path, create_graph(asset["id"], other["id"], prompt["id"]))
    found = expect_problem(refused, 422, "graph_unacceptable")
    assert pointers(found) == [f"/nodes/0/config/messages/1/parts/{place}/asset_id" for place in (1, 2)]
    assert "Expected an asset of type media, got prompt" in found["errors"][1]["message"]
