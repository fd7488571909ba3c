"""Bad requests: ids, graphs, queries, paths and verbs; the response reports everything that is wrong."""

from typing import Any

import pytest

from tests.support.gateway.given import TRANSFORM_CHAIN, Caller, expect_problem, new_id, pointers


@pytest.mark.parametrize(
    "path",
    [
        "/v1/projects/{}",
        "/v1/projects/{}/workflows",
        "/v1/projects/{}/assets",
        "/v1/projects/{}/runs",
        "/v1/workflows/{}",
        "/v1/workflows/{}/runs",
        "/v1/assets/{}",
        "/v1/runs/{}",
        "/v1/runs/{}/events",
    ],
)
@pytest.mark.parametrize(
    "name", ["nonsense", "prj_00000000000000000000000000", "prj_zzzzzzzzzzzzzzzzzzzzzzzzzz", "%00", "é"]
)
async def test_malformed_and_unknown_ids_name_nothing(ada: Caller, path: str, name: str) -> None:
    answer = await ada.get(path.format(name))
    assert answer.status_code == 404
    assert answer.json()["code"].endswith("_not_found")


async def test_ids_of_another_workspace_name_nothing(ada: Caller) -> None:
    run = await ada.ended_run(TRANSFORM_CHAIN, {})
    asset = await ada.post(f"/v1/projects/{run['project_id']}/assets", {"type": "prompt", "label": "Tone"})
    eve = ada.to(new_id())
    reads = [
        f"/v1/projects/{run['project_id']}",
        f"/v1/projects/{run['project_id']}/workflows",
        f"/v1/projects/{run['project_id']}/assets",
        f"/v1/projects/{run['project_id']}/runs",
        f"/v1/workflows/{run['workflow_id']}",
        f"/v1/workflows/{run['workflow_id']}/runs",
        f"/v1/assets/{asset.json()['id']}",
        f"/v1/runs/{run['id']}",
        f"/v1/runs/{run['id']}/events",
    ]
    for path in reads:
        assert (await ada.get(path, headers={"callsheet-min-position": asset.headers["callsheet-position"]})).is_success
        assert (await eve.get(path)).status_code == 404, path
    for path in (reads[0], reads[4], reads[6]):
        assert (await eve.patch(path, {})).status_code == 404, path
    for path, body in (
        (reads[1], {"name": "x", **TRANSFORM_CHAIN}),
        (reads[2], {"type": "prompt", "label": "x"}),
        (f"{reads[4]}:run", {}),
        (f"{reads[4]}:duplicate", {}),
        (f"{reads[4]}:validate", {}),
        (f"{reads[7]}/steps/one:complete", {"outcome": "approve"}),
    ):
        assert (await eve.post(path, body)).status_code == 404, path
    stolen = await eve.project()
    answer = await ada.post(f"{reads[4]}:duplicate", {"project_id": stolen["id"]})
    expect_problem(answer, 404, "project_not_found")


async def test_all_faults_of_a_graph_and_of_the_body_around_it_are_told_at_once(ada: Caller) -> None:
    project = await ada.project()
    body: dict[str, Any] = {
        "name": 7,
        "colour": "red",
        "nodes": [
            {"id": "a", "kind": "juggle", "config": {}},
            {"id": "b", "kind": "transform", "config": {"expression": "]["}},
            {"id": "b", "kind": "transform", "config": {}},
            {"id": "c", "kind": "prompt", "config": {"asset_id": "ast_00000000000000000000000000"}},
            {"id": "d", "kind": "transform", "surprise": 1},
        ],
        "edges": [
            {"from": "b", "to": "nowhere"},
            {"from": "c", "to": "d", "when": "1 +"},
            {"from": "d", "to": "c"},
        ],
    }
    found = expect_problem(await ada.post(f"/v1/projects/{project['id']}/workflows", body), 422, "body_unacceptable")
    found = set(pointers(found))
    assert {
        "/name",
        "/colour",
        "/nodes/0/kind",
        "/nodes/1/config/expression",
        "/nodes/2/id",
        "/nodes/3/config/asset_id",
        "/nodes/4/surprise",
        "/edges/0/to",
        "/edges/1/when",
    } <= found


async def test_a_graph_of_another_kind_than_json_object_lists_is_refused(ada: Caller) -> None:
    project = await ada.project()
    found = expect_problem(
        await ada.post(f"/v1/projects/{project['id']}/workflows", {"name": "x", "nodes": {}, "edges": 3}),
        422,
        "graph_unacceptable",
    )
    assert pointers(found) == ["/nodes", "/edges"]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=x",
        "limit=-1",
        "limit=0000000019",
        "limit=000000001" + "9" * 5_000,
        "cursor=x",
        "cursor=%00",
        "sort=name",
        "status=x",
        "limit=1&limit=2",
        "name=%00",
        "nothing=1",
    ],
)
async def test_a_query_that_cannot_be_read_is_refused(ada: Caller, query: str) -> None:
    found = expect_problem(await ada.get(f"/v1/projects?{query}"), 400, "malformed")
    assert [error["parameter"] for error in found["errors"]] == [query.split("=", maxsplit=1)[0]]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("status=achived", "`status` must be one of `active`, `archived`. Did you mean `archived`?"),
        ("status=absent", "`status` must be one of `active`, `archived`."),
        ("sort=name", "`sort` must be one of "),
        ("limit=0", "`limit` must be an integer from 1 to 200."),
        (
            "stauts=active",
            "Supported: `limit`, `cursor`, `sort`, `status`, `name`. Did you mean `status`?",
        ),
    ],
)
async def test_a_message_lists_the_allowed_values_of_a_parameter(ada: Caller, query: str, message: str) -> None:
    assert message in expect_problem(await ada.get(f"/v1/projects?{query}"), 400, "malformed")["detail"]


async def test_every_route_refuses_the_parameters_that_it_does_not_take(ada: Caller) -> None:
    run = await ada.ended_run(TRANSFORM_CHAIN, {})
    project, workflow = f"/v1/projects/{run['project_id']}", f"/v1/workflows/{run['workflow_id']}"
    for method, path in (
        *(("GET", f"{project}{below}") for below in ("", "/workflows", "/assets", "/runs", "/insights")),
        *(("GET", path) for path in (workflow, f"{workflow}/runs", f"/v1/runs/{run['id']}", "/v1/tasks")),
        *(("POST", f"{workflow}{verb}") for verb in (":run", ":validate", ":duplicate")),
        ("GET", f"/v1/runs/{run['id']}/events"),
        ("POST", "/v1/projects"),
        ("PATCH", project),
    ):
        found = expect_problem(await ada.ask(method, f"{path}?wait=1&limt=2"), 400, "malformed")
        assert [error["parameter"] for error in found["errors"]] == ["limt", "wait"], path
        assert "Unknown query parameter `limt`." in found["detail"], path
        assert "(1 more)" in found["detail"], path


async def test_the_parameters_of_events_are_those_that_are_documented(ada: Caller) -> None:
    run = await ada.ended_run(TRANSFORM_CHAIN, {})
    path = f"/v1/runs/{run['id']}/events"
    page = (await ada.get(f"{path}?limit=2")).json()
    rest = (await ada.get(f"{path}?limit=2&after={page['next_cursor']}")).json()
    assert rest == (await ada.get(f"{path}?limit=2&cursor={page['next_cursor']}")).json()
    stream = await ada.get(f"{path}?after={page['next_cursor']}", headers={"accept": "text/event-stream"})
    ids = [line.removeprefix("id: ") for line in stream.text.splitlines() if line.startswith("id: ")]
    assert ids[:2] == [item["id"] for item in rest["items"]]
    expect_problem(await ada.get(f"{path}?sort=x"), 400, "malformed")


@pytest.mark.parametrize(
    ("path", "body", "pointer", "said"),
    [
        (
            "",
            {"name": "x", "team": [{"user_id": "u", "role": "boss"}]},
            "/team/0/role",
            "Supported: owner, editor",
        ),
        (
            "/assets",
            {"label": "x", "type": "promt"},
            "/type",
            "prompt, dataset, ui_snippet, media; did you mean prompt?",
        ),
        ("/assets", {"label": "x", "type": "prompt", "lable": 1}, "/lable", "did you mean label?"),
    ],
)
async def test_words_that_are_not_known_are_told_with_those_that_are(
    ada: Caller, path: str, body: dict[str, Any], pointer: str, said: str
) -> None:
    project = await ada.project()
    where = f"/v1/projects/{project['id']}{path}" if path else "/v1/projects"
    found = expect_problem(await ada.post(where, body), 422, "body_unacceptable")
    assert [error["pointer"] for error in found["errors"]] == [pointer]
    assert said in found["errors"][0]["message"]


@pytest.mark.parametrize("status", ["absent", "achived"])
async def test_a_status_that_cannot_be_set_is_refused_with_those_that_can(ada: Caller, status: str) -> None:
    workflow = await ada.workflow(TRANSFORM_CHAIN)
    asset = await ada.post(f"/v1/projects/{workflow['project_id']}/assets", {"type": "prompt", "label": "Tone"})
    for path in (
        f"/v1/projects/{workflow['project_id']}",
        f"/v1/workflows/{workflow['id']}",
        f"/v1/assets/{asset.json()['id']}",
    ):
        found = expect_problem(await ada.patch(path, {"status": status}), 422, "body_unacceptable")
        assert found["errors"][0]["pointer"] == "/status"
        assert "Supported: active, archived" in found["errors"][0]["message"]


async def test_unknown_paths_verbs_and_methods_are_problems(ada: Caller) -> None:
    workflow = await ada.workflow(TRANSFORM_CHAIN)
    path = f"/v1/workflows/{workflow['id']}"
    expect_problem(await ada.get("/v1/nothing"), 404, "not_found")
    expect_problem(await ada.post(f"{path}:juggle", {}), 404, "not_found")
    expect_problem(await ada.post(f"{path}/:run", {}), 404, "not_found")
    found = await ada.get(f"{path}:run")
    expect_problem(found, 405, "method_not_allowed")
    assert "POST" in found.headers["allow"]
    expect_problem(await ada.ask("DELETE", path), 405, "method_not_allowed")


async def test_a_verb_may_be_percent_encoded(ada: Caller) -> None:
    workflow = await ada.workflow(TRANSFORM_CHAIN)
    answer = await ada.post(f"/v1/workflows/{workflow['id']}%3Arun", {})
    assert answer.status_code == 202
