"""Lists of runs: filters, and children apart from the runs that callers started."""

from typing import Any

from tests.support.gateway.given import TRANSFORM_CHAIN, Caller, expect_problem


async def run(ada: Caller, workflow: str, **body: Any) -> str:  # noqa: ANN401  # JSON
    answer = await ada.post(f"/v1/workflows/{workflow}:run", body, headers={"prefer": "wait=20"})
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


async def list_ids(ada: Caller, path: str) -> list[str]:
    answer = await ada.get(path)
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]


async def test_a_list_has_the_steps_of_a_run_as_counts_only(ada: Caller) -> None:
    graph = {
        **TRANSFORM_CHAIN,
        "edges": [{"from": "one", "to": "two", "when": "false"}, {"from": "two", "to": "three"}],
    }
    whole = await ada.ended_run(graph, {})
    assert set(whole["steps"]) == {"one", "two", "three"}
    for path in (f"/v1/workflows/{whole['workflow_id']}/runs", f"/v1/projects/{whole['project_id']}/runs"):
        [item] = (await ada.get(path)).json()["items"]
        assert item["step_counts"] == {"completed": 1, "skipped": 2}
        assert item == {
            **{name: value for name, value in whole.items() if name != "steps"},
            "step_counts": item["step_counts"],
        }


async def test_runs_are_listed_by_label_workflow_time_and_parent(ada: Caller) -> None:
    inner = await ada.workflow(TRANSFORM_CHAIN)
    project = inner["project_id"]
    each = {"id": "each", "kind": "map", "config": {"workflow_id": inner["id"], "items": "inputs.list"}}
    outer = await ada.workflow({"nodes": [each]}, project)
    tea = await run(ada, inner["id"], name="Order 7", labels={"shop": "tea", "day": "mon"})
    ink = await run(ada, inner["id"], labels={"shop": "ink"})
    mapped = await run(ada, outer["id"], inputs={"list": [1, 2]})
    path = f"/v1/projects/{project}/runs"
    assert await list_ids(ada, path) == [mapped, ink, tea]
    assert await list_ids(ada, f"{path}?label=shop=tea") == [tea]
    assert await list_ids(ada, f"{path}?label=shop=coffee") == []
    assert await list_ids(ada, f"{path}?workflow_id={inner['id']}&sort=created_at") == [tea, ink]
    children = await list_ids(ada, f"{path}?parent={mapped}")
    assert len(children) == 2
    assert not {mapped, ink, tea} & set(children)
    assert await list_ids(ada, f"/v1/workflows/{inner['id']}/runs") == [ink, tea]
    assert await list_ids(ada, f"/v1/workflows/{inner['id']}/runs?parent={mapped}") == children
    started = (await ada.get(f"/v1/runs/{ink}")).json()["created_at"]
    assert await list_ids(ada, f"{path}?to={started}") == [tea]
    assert await list_ids(ada, f"{path}?from={started}") == [mapped, ink]
    expect_problem(await ada.get(f"{path}?label=tea"), 400, "malformed")
