"""What is asked for in vain: ids, graphs, queries, paths and verbs; the answer says all that is wrong."""

from typing import Any

import pytest

from tests.gateway.given import TRANSFORM_CHAIN, Caller, new_id, pointers, problem


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
    problem(answer, 404, "project_not_found")


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
    told = problem(await ada.post(f"/v1/projects/{project['id']}/workflows", body), 422, "body_unacceptable")
    found = set(pointers(told))
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
    told = problem(
        await ada.post(f"/v1/projects/{project['id']}/workflows", {"name": "x", "nodes": {}, "edges": 3}),
        422,
        "graph_unacceptable",
    )
    assert pointers(told) == ["/nodes", "/edges"]


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
    ],
)
async def test_a_query_that_cannot_be_read_is_refused(ada: Caller, query: str) -> None:
    problem(await ada.get(f"/v1/projects?{query}"), 400, "malformed")


async def test_unknown_paths_verbs_and_methods_are_problems(ada: Caller) -> None:
    workflow = await ada.workflow(TRANSFORM_CHAIN)
    path = f"/v1/workflows/{workflow['id']}"
    problem(await ada.get("/v1/nothing"), 404, "not_found")
    problem(await ada.post(f"{path}:juggle", {}), 404, "not_found")
    problem(await ada.post(f"{path}/:run", {}), 404, "not_found")
    told = await ada.get(f"{path}:run")
    problem(told, 405, "method_not_allowed")
    assert "POST" in told.headers["allow"]
    problem(await ada.ask("DELETE", path), 405, "method_not_allowed")


async def test_a_verb_may_be_percent_encoded(ada: Caller) -> None:
    workflow = await ada.workflow(TRANSFORM_CHAIN)
    answer = await ada.post(f"/v1/workflows/{workflow['id']}%3Arun", {})
    assert answer.status_code == 202
