"""Assets over HTTP: made, read, listed and revised, and what is refused of them."""

from typing import TypedDict

import pytest

from tests.support.gateway.given import Caller, after_write, expect_created, expect_problem, new_id, pointers

PROMPT = {"type": "prompt", "label": "Tone", "content": "Be warm."}


CONTENTS: list[object] = [[1, "two", None], "text", 0, False, {}, None]


class Made(TypedDict):
    """The path of a new asset, that of its project's assets, and the header of a read that must see it."""

    path: str
    all: str
    since: dict[str, str]


async def create_asset(caller: Caller, **fields: object) -> Made:
    project = await caller.project()
    answer = await caller.post(f"/v1/projects/{project['id']}/assets", {**PROMPT, **fields})
    expect_created(answer)
    return Made(path=answer.headers["location"], all=f"/v1/projects/{project['id']}/assets", since=after_write(answer))


async def test_a_prompt_is_created_read_and_revised(ada: Caller) -> None:
    project = await ada.project()
    answer = await ada.post(f"/v1/projects/{project['id']}/assets", {**PROMPT, "metadata": {"a": 1}})
    asset = expect_created(answer)
    assert (asset["version"], asset["type"], asset["status"]) == (1, "prompt", "active")
    assert (asset["project_id"], asset["content"]) == (project["id"], "Be warm.")
    path = answer.headers["location"]
    read = await ada.get(path, headers=after_write(answer))
    assert (read.json(), read.headers["etag"]) == (asset, answer.headers["etag"])
    changed = await ada.patch(path, {"label": "Voice", "metadata": {"b": 2}, "content": "Be brief."})
    body = changed.json()
    assert (body["label"], body["metadata"], body["version"]) == ("Voice", {"a": 1, "b": 2}, 2)
    assert body["content"] == "Be brief."
    assert (await ada.patch(path, {"content": None})).json()["content"] is None
    assert (await ada.get(path, headers=after_write(changed))).json()["version"] >= 2


@pytest.mark.parametrize("type_", ["dataset", "ui_snippet"])
async def test_content_of_other_types_is_any_json_and_merged_where_it_is_an_object(ada: Caller, type_: str) -> None:
    asset = await create_asset(ada, type=type_, content={"template": "Hi", "by": "ada"})
    merged = await ada.patch(asset["path"], {"content": {"by": None, "n": 1}})
    assert merged.json()["content"] == {"template": "Hi", "n": 1}
    for content in CONTENTS:
        assert (await ada.patch(asset["path"], {"content": content})).json()["content"] == content


@pytest.mark.parametrize("content", [{"template": "Hi"}, ["Hi"], 7, True, {"text": "x" * 40_000}, ["x" * 40_000]])
async def test_the_content_of_a_prompt_is_text(ada: Caller, content: object) -> None:
    asset = await create_asset(ada)
    for answer in (
        await ada.post(asset["all"], {**PROMPT, "content": content}),
        await ada.patch(asset["path"], {"content": content}),
    ):
        found = expect_problem(answer, 422, "asset_content_unacceptable")
        assert pointers(found) == ["/content"]
        assert "must be a template as a JSON string" in found["errors"][0]["message"]
    asked = await ada.post("/v1/projects", {"name": "later"})
    assert (await ada.get(asset["path"], headers=after_write(asked))).json()["content"] == "Be warm."
    assert len((await ada.get(asset["all"])).json()["items"]) == 1


async def test_a_prompt_may_be_long_and_have_none_of_its_content_yet(ada: Caller) -> None:
    asset = await create_asset(ada, content=None)
    long = "word " * 10_000
    answer = await ada.patch(asset["path"], {"content": long})
    assert (answer.json()["content"], answer.json()["version"]) == (long, 2)
    assert (await ada.get(asset["path"], headers=after_write(answer))).json()["content"] == long


async def test_only_other_content_makes_another_version(ada: Caller) -> None:
    asset = await create_asset(ada)
    same = await ada.patch(asset["path"], {"content": "Be warm.", "label": "Tone"})
    relabelled = await ada.patch(asset["path"], {"label": "Voice"})
    assert (same.json()["version"], relabelled.json()["version"]) == (1, 1)
    assert same.headers["etag"] != relabelled.headers["etag"]


async def test_assets_are_listed_by_type_label_and_status(ada: Caller) -> None:
    asset = await create_asset(ada)
    await ada.post(asset["all"], {"type": "dataset", "label": "Rows", "content": [1]})
    archived = await ada.patch(asset["path"], {"status": "archived"})

    async def labels(query: str) -> list[str]:
        answer = await ada.get(f"{asset['all']}?{query}", headers=after_write(archived))
        return [item["label"] for item in answer.json()["items"]]

    assert sorted(await labels("")) == ["Rows", "Tone"]
    assert await labels("type=dataset") == ["Rows"]
    assert await labels("label=Tone") == ["Tone"]
    assert await labels("status=active") == ["Rows"]
    assert await labels("status=archived") == ["Tone"]


async def test_an_archived_asset_and_a_stale_version_are_refused(ada: Caller) -> None:
    asset = await create_asset(ada)
    first = (await ada.patch(asset["path"], {"label": "Voice"})).headers["etag"]
    await ada.patch(asset["path"], {"label": "Sound"})
    expect_problem(await ada.patch(asset["path"], {"label": "x"}, headers={"if-match": first}), 412, "version_mismatch")
    assert (await ada.patch(asset["path"], {"status": "archived"})).json()["status"] == "archived"
    for change in ({"label": "x"}, {"content": "x"}):
        expect_problem(await ada.patch(asset["path"], change), 409, "asset_not_active")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"label": "x"}, "/type"),
        ({"type": "prompt"}, "/label"),
        ({"type": "prompt", "label": ""}, "/label"),
        ({"type": "prompt", "label": 1}, "/label"),
        ({"type": "prompt", "label": "x", "metadata": []}, "/metadata"),
        ({"type": "prompt", "label": "x", "version": 2}, "/version"),
    ],
)
async def test_a_body_that_is_no_asset_is_told_where(ada: Caller, body: dict[str, object], pointer: str) -> None:
    project = await ada.project()
    answer = await ada.post(f"/v1/projects/{project['id']}/assets", body)
    assert pointers(expect_problem(answer, 422, "body_unacceptable")) == [pointer]


async def test_the_type_of_an_asset_does_not_change(ada: Caller) -> None:
    asset = await create_asset(ada)
    answer = await ada.patch(asset["path"], {"type": "dataset"})
    assert pointers(expect_problem(answer, 422, "body_unacceptable")) == ["/type"]


@pytest.mark.parametrize("content", [b'"a\\u0000b"', b'"a\\ud800b"', b"[" * 40 + b"]" * 40])
async def test_content_that_cannot_be_stored_is_malformed(ada: Caller, content: bytes) -> None:
    asset = await create_asset(ada, type="dataset")
    for method, path in (("POST", asset["all"]), ("PATCH", asset["path"])):
        more = b'"type": "dataset", "label": "x", ' if method == "POST" else b""
        answer = await ada.ask(
            method, path, content=b'{%b"content": %b}' % (more, content), headers={"content-type": "application/json"}
        )
        expect_problem(answer, 400, "malformed")
    assert len((await ada.get(asset["all"], headers=asset["since"])).json()["items"]) == 1


async def test_assets_of_others_and_of_nobody_are_not_there(ada: Caller) -> None:
    asset = await create_asset(ada)
    eve = ada.to(new_id())
    nobodys = ("/v1/assets/ast_00000000000000000000000000", "/v1/assets/x")
    for caller, path in ((eve, asset["path"]), *((ada, path) for path in nobodys)):
        expect_problem(await caller.get(path, headers=asset["since"]), 404, "asset_not_found")
        expect_problem(await caller.patch(path, {"label": "x"}), 404, "asset_not_found")
        expect_problem(await caller.patch(path, {"content": {"a": 1}}), 404, "asset_not_found")
    expect_problem(await eve.get(asset["all"], headers=asset["since"]), 404, "project_not_found")
    expect_problem(await eve.post(asset["all"], PROMPT), 404, "project_not_found")
    assert (await ada.get(asset["path"], headers=asset["since"])).json()["label"] == "Tone"


async def test_large_content_is_whole_when_read_and_a_reference_when_listed(ada: Caller) -> None:
    project = await ada.project()
    path = f"/v1/projects/{project['id']}/assets"
    content = {"rows": ["row " * 10 for _ in range(2_000)]}
    answer = await ada.post(path, {"type": "dataset", "label": "Rows", "content": content})
    assert expect_created(answer)["content"] == content
    assert (await ada.get(answer.headers["location"], headers=after_write(answer))).json()["content"] == content
    listed = await ada.get(f"{path}?type=dataset", headers=after_write(answer))
    reference = listed.json()["items"][0]["content"]
    assert reference["$ref"].startswith("sha256:")
    assert reference["media_type"] == "application/json"
    assert (await ada.get(f"{path}?type=prompt")).json()["items"] == []


async def test_a_caller_cannot_pass_a_value_for_a_reference(ada: Caller) -> None:
    project = await ada.project()
    forged = {"$ref": f"sha256:{'0' * 64}", "bytes": 1, "media_type": "application/json"}
    answer = await ada.post(
        f"/v1/projects/{project['id']}/assets", {"type": "dataset", "label": "x", "content": forged}
    )
    assert expect_created(answer)["content"] == forged
