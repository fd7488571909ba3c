"""Workflows over HTTP."""

from typing import Any

from tests.domain.test_golden import find_losses
from tests.support.gateway.given import TRANSFORM_CHAIN, Caller, after_write, expect_created, expect_problem, pointers


async def test_a_workflow_is_created_read_and_revised(ada: Caller) -> None:
    project = await ada.project()
    answer = await ada.post(f"/v1/projects/{project['id']}/workflows", {"name": "Launch", **TRANSFORM_CHAIN})
    workflow = expect_created(answer)
    assert (workflow["version"], workflow["project_id"], workflow["last_run_id"]) == (1, project["id"], None)
    assert [node["id"] for node in workflow["nodes"]] == ["one", "two", "three"]
    read = await ada.get(answer.headers["location"], headers=after_write(answer))
    assert read.json() == workflow
    revised = await ada.patch(
        answer.headers["location"],
        {
            "edges": [{"from": "one", "to": "three"}],
            "nodes": [{"id": "one", "kind": "transform"}, {"id": "three", "kind": "transform"}],
        },
    )
    assert revised.status_code == 200, revised.text
    assert revised.json()["version"] == 2
    fewer = await ada.patch(answer.headers["location"], {"edges": None})
    expect_problem(fewer, 422, "graph_unacceptable")
    edges = await ada.patch(answer.headers["location"], {"edges": []})
    assert (edges.json()["version"], len(edges.json()["nodes"])) == (3, 2)
    renamed = await ada.patch(answer.headers["location"], {"name": "Relaunch"})
    assert (renamed.json()["version"], renamed.json()["name"]) == (3, "Relaunch")


async def test_a_patch_of_a_graph_tells_every_problem(ada: Caller) -> None:
    workflow = await ada.workflow(TRANSFORM_CHAIN)
    answer = await ada.patch(
        f"/v1/workflows/{workflow['id']}",
        {"edges": [{"from": "one", "to": "nowhere"}, {"from": "three", "to": "three"}]},
    )
    assert {"/edges/0/to"} < set(pointers(expect_problem(answer, 422, "graph_unacceptable")))


async def test_a_workflow_is_duplicated_also_into_another_project(ada: Caller) -> None:
    workflow = await ada.workflow(TRANSFORM_CHAIN)
    answer = await ada.post(f"/v1/workflows/{workflow['id']}:duplicate")
    copy = expect_created(answer)
    assert (copy["name"], copy["duplicated_from"]) == ("Launch (copy)", workflow["id"])
    assert (copy["nodes"], copy["edges"]) == (workflow["nodes"], workflow["edges"])
    other = await ada.project("Other")
    moved = expect_created(
        await ada.post(f"/v1/workflows/{workflow['id']}:duplicate", {"project_id": other["id"], "name": "There"})
    )
    assert (moved["project_id"], moved["name"]) == (other["id"], "There")
    found = expect_problem(
        await ada.post(f"/v1/workflows/{workflow['id']}:duplicate", {"project_id": "wf_x"}), 422, "body_unacceptable"
    )
    assert pointers(found) == ["/project_id"]


async def test_a_graph_is_judged_without_being_kept(ada: Caller) -> None:
    workflow = await ada.workflow(TRANSFORM_CHAIN)
    path = f"/v1/workflows/{workflow['id']}"
    assert (await ada.post(f"{path}:validate")).json() == {"valid": True, "problems": []}
    judged = await ada.post(f"{path}:validate", {"nodes": [{"id": "A", "kind": "transform"}], "edges": []})
    assert judged.status_code == 200
    assert not judged.json()["valid"]
    assert [item["pointer"] for item in judged.json()["problems"]] == ["/nodes/0/id"]
    assert (await ada.patch(path, {})).json()["version"] == 1


async def test_workflows_are_listed_with_their_last_run(ada: Caller) -> None:
    run = await ada.ended_run(TRANSFORM_CHAIN, {})
    position = (await ada.patch(f"/v1/projects/{run['project_id']}", {"name": "other"})).headers["callsheet-position"]
    answer = await ada.get(f"/v1/projects/{run['project_id']}/workflows", headers={"callsheet-min-position": position})
    assert [item["last_run_id"] for item in answer.json()["items"]] == [run["id"]]


async def test_a_graph_comes_back_as_it_was_sent_with_its_defaults(ada: Caller) -> None:
    ask: dict[str, Any] = {
        "model": "scripted/a",
        "template": "Hi",
        "output": {"format": "text"},
        "parameters": {"stop": []},
    }
    sent: dict[str, Any] = {
        "nodes": [
            {
                "id": "ask",
                "kind": "prompt",
                "name": "",
                "config": ask,
                "retry": {"max_attempts": 3},
                "timeout_seconds": None,
            },
            {"id": "get", "kind": "http", "config": {"url": "https://example.com", "method": "GET"}},
        ],
        "edges": [{"from": "ask", "to": "get"}],
        "input_schema": {"type": "object", "properties": {"a": {"default": None}}},
    }
    workflow = await ada.workflow(sent)
    path = f"/v1/workflows/{workflow['id']}"
    for returned in (workflow, (await ada.get(path)).json(), (await ada.get(f"{path}/versions/1")).json()):
        assert find_losses(sent, returned) == []
        assert returned["nodes"][0]["retry"]["backoff"] == {
            "initial_seconds": 1, "factor": 2, "max_seconds": 60, "jitter": 0.5,
        }  # fmt: skip
        assert returned["nodes"][1]["on_error"] == {"action": "fail"}
        assert returned["nodes"][1]["config"]["most_response_bytes"] == 1_000_000
    again = {name: workflow[name] for name in ("nodes", "edges", "input_schema")}
    assert (await ada.patch(path, again)).json()["version"] == 1
