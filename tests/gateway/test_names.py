"""Names can be seen, ids of users that look the same are the same, and only those who may decide are assigned."""

from typing import Any
from urllib.parse import quote

import pytest

from domain.names import normalize_user_id
from tests.support.gateway.given import TRANSFORM_CHAIN, Caller, expect_created, expect_problem, pointers

UNSEEN = {
    "a space": " ",
    "a no-break space": "\u00a0",
    "a zero-width space": "\u200b",
    "a filler": "\u3164",
    "a blank of braille": "\u2800",
    "a tag": "\U000e0041",
    "a line break": "a\nb",
    "a last line break": "a\n",
    "an escape": "\x1b[2J",
    "C1": "a\u009b2J",
    "an override": "invoice\u202egnp.exe",
    "an isolate": "a\u2066b",
}
SEEN = ("Spring", " Spring ", "日本", "👩‍👩‍👧 family", "naïve", "العربية", "❤️")


@pytest.mark.parametrize("name", UNSEEN.values(), ids=UNSEEN.keys())
async def test_a_name_that_cannot_be_seen_is_refused_everywhere(ada: Caller, name: str) -> None:
    project = await ada.project()
    path = f"/v1/projects/{project['id']}"
    for method, where, body, pointer in (
        ("POST", "/v1/projects", {"name": name}, "/name"),
        ("PATCH", path, {"name": name}, "/name"),
        ("POST", f"{path}/workflows", {"name": name, **TRANSFORM_CHAIN}, "/name"),
        ("POST", f"{path}/assets", {"type": "prompt", "label": name}, "/label"),
    ):
        found = expect_problem(await ada.ask(method, where, body), 422, "body_unacceptable")
        assert pointers(found) == [pointer]
        assert found["errors"][0]["message"] == "Must have a visible character, and no control characters"


@pytest.mark.parametrize("name", SEEN)
async def test_a_name_in_any_script_is_kept_as_it_is(ada: Caller, name: str) -> None:
    assert (await ada.project(name))["name"] == name


async def test_a_long_name_of_the_worst_kind_is_refused_at_once(ada: Caller) -> None:
    for name in (" " * 100_000, "a" * 100_000 + "\u0001", " " * 50_000 + "a" * 50_000 + "\u0001"):
        expect_problem(await ada.post("/v1/projects", {"name": name}), 422, "body_unacceptable")


async def test_an_id_in_another_normalization_form_is_the_same_user(ada: Caller) -> None:
    composed, decomposed = "usr_zo\u00eb", "usr_zoe\u0308"
    body = {"name": "x", "team": [{"user_id": decomposed, "role": "viewer"}]}
    project = expect_created(await ada.post("/v1/projects", body))
    assert [member["user_id"] for member in project["team"]] == ["usr_ada", composed]
    for user_id in (composed, decomposed):
        answer = await ada.as_user(user_id).get(f"/v1/projects/{project['id']}")
        assert answer.status_code == 200, quote(user_id)
    twice = {"name": "x", "team": [{"user_id": name, "role": "viewer"} for name in (composed, decomposed)]}
    found = expect_problem(await ada.post("/v1/projects", twice), 422, "body_unacceptable")
    assert pointers(found) == ["/team/0/user_id", "/team/1/user_id"]


@pytest.mark.parametrize("user_id", [" ", "\u200b", "usr\u200b_ada", "a\nb", "\u3164", "usr_\u202eada"])
async def test_an_id_of_a_user_that_cannot_be_seen_is_refused(ada: Caller, user_id: str) -> None:
    body = {"name": "x", "team": [{"user_id": user_id, "role": "viewer"}]}
    assert pointers(expect_problem(await ada.post("/v1/projects", body), 422, "body_unacceptable")) == [
        "/team/0/user_id"
    ]
    expect_problem(await ada.as_user(user_id).get("/v1/projects"), 401, "unauthenticated")
    with pytest.raises(ValueError, match="visible"):
        normalize_user_id(user_id)


@pytest.mark.parametrize(
    ("assignee", "field"),
    [({"role": "viewer"}, "role"), ({"user": "usr_zoe\u0308"}, "user"), ({"user": "\u200b"}, "user")],
)
async def test_who_can_never_decide_is_no_assignee(ada: Caller, assignee: dict[str, Any], field: str) -> None:
    project = await ada.project()
    node = {"id": "look", "kind": "human", "config": {"assignees": [{"role": "owner"}, assignee]}}
    answer = await ada.post(f"/v1/projects/{project['id']}/workflows", {"name": "x", "nodes": [node]})
    found = expect_problem(answer, 422, "graph_unacceptable")
    assert pointers(found) == [f"/nodes/0/config/assignees/1/{field}"]
    if field == "role":
        assert "Supported: owner, editor, reviewer" in found["errors"][0]["message"]


async def test_an_archived_workflow_and_asset_can_be_active_again(ada: Caller) -> None:
    workflow = await ada.workflow(TRANSFORM_CHAIN)
    asset = await ada.post(f"/v1/projects/{workflow['project_id']}/assets", {"type": "prompt", "label": "Tone"})
    for path in (f"/v1/workflows/{workflow['id']}", f"/v1/assets/{asset.json()['id']}"):
        for status in ("archived", "active"):
            answer = await ada.patch(path, {"status": status})
            assert (answer.status_code, answer.json()["status"]) == (200, status)
        assert (await ada.get(path)).json()["status"] == "active"
