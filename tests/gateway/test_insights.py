"""Insights over HTTP, end to end: runs are carried out, and their figures are read after them."""

from typing import Any

from tests.support.gateway.given import (
    HUMAN,
    PATIENCE_SECONDS,
    TRANSFORM_CHAIN,
    Caller,
    after_write,
    expect_problem,
    new_id,
)
from tests.support.waiting import eventually


async def insights(
    ada: Caller, project_id: str, query: str = "", headers: dict[str, str] | None = None
) -> dict[str, Any]:
    answer = await ada.get(f"/v1/projects/{project_id}/insights{query}", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_runs_are_counted_with_their_steps_and_times(ada: Caller) -> None:
    workflow = await ada.workflow(TRANSFORM_CHAIN)
    answers = [
        await ada.post(f"/v1/workflows/{workflow['id']}:run", {"inputs": {}}, headers={"prefer": "wait=20"})
        for _ in range(3)
    ]
    assert [answer.status_code for answer in answers] == [200] * 3
    found = await insights(ada, workflow["project_id"], "?window=24h", after_write(answers[-1]))
    metrics = found["metrics"]
    assert found["project_id"] == workflow["project_id"]
    assert (metrics["runs"]["started"], metrics["runs"]["completed"], metrics["runs"]["success_rate"]) == (3, 3, 1.0)
    assert metrics["runs"]["duration"]["count"] == metrics["runs"]["queue"]["count"] == 3
    assert 0 < metrics["runs"]["duration"]["p50_ms"] <= metrics["runs"]["duration"]["longest_ms"]
    (of_workflow,) = metrics["workflows"]
    assert of_workflow["workflow_id"] == workflow["id"]
    assert [(step["node_id"], step["completed"]) for step in of_workflow["steps"]] == [
        ("one", 3),
        ("three", 3),
        ("two", 3),
    ]
    assert len(metrics["series"]) == 24
    assert sum(point["completed"] for point in metrics["series"]) == 3


async def test_a_window_that_cannot_be_understood_is_a_problem(ada: Caller) -> None:
    path = f"/v1/projects/{(await ada.project())['id']}/insights"
    for query in (
        "window=7",
        "window=0d",
        "window=400d",
        "to=2026-05-01T00:00:00Z",
        "from=yesterday",
        "from=2026-05-01",
        "from=0001-01-01T00:00:00Z&to=0001-05-01T00:00:00Z",
        "from=0001-01-01T00:00:00%2B14:00&to=0001-05-01T00:00:00Z",
        "from=9999-12-31T00:00:00Z&to=9999-12-31T23:59:59Z",
    ):
        expect_problem(await ada.get(f"{path}?{query}"), 400, "malformed")
    expect_problem(await ada.get(f"{path}?from=2026-05-02T00:00:00Z&to=2026-05-01T00:00:00Z"), 400, "malformed")
    expect_problem(await ada.get(f"{path}?workflow_id=run_1"), 400, "malformed")


async def test_a_step_that_fails_is_recommended_to_be_looked_at(ada: Caller) -> None:
    graph = {"nodes": [{"id": "measure", "kind": "transform", "config": {"expression": "length(inputs.n)"}}]}
    workflow = await ada.workflow(graph)
    path = f"/v1/workflows/{workflow['id']}:run"
    answers = [await ada.post(path, {"inputs": {"n": 1}}, headers={"prefer": "wait=20"}) for _ in range(20)]
    assert {answer.json()["status"] for answer in answers} == {"failed"}
    found = await insights(ada, workflow["project_id"], headers=after_write(answers[-1]))
    assert found["metrics"]["runs"]["success_rate"] == 0
    (recommendation,) = found["recommendations"]
    assert (
        recommendation["code"],
        recommendation["severity"],
        recommendation["workflow_id"],
        recommendation["node_id"],
    ) == (
        "failing_step",
        "critical",
        workflow["id"],
        "measure",
    )
    assert recommendation["evidence"] == {"ended": 20, "failed": 20, "failed_share": 1.0, "errors": {"expression": 20}}
    assert {"title", "detail", "suggested_action"} <= recommendation.keys()


async def test_runs_that_wait_and_decisions_are_counted(ada: Caller) -> None:
    workflow = await ada.workflow(HUMAN)
    runs = [await ada.post(f"/v1/workflows/{workflow['id']}:run", {"inputs": {}}) for _ in range(2)]

    async def wait() -> bool:
        return len((await ada.get("/v1/tasks")).json()["items"]) == 2

    await eventually(wait, what="both runs wait for ada", seconds=PATIENCE_SECONDS)
    decision = {"outcome": "approve", "data": {"note": "fine"}}
    decided = await ada.post(f"/v1/runs/{runs[0].json()['id']}/steps/review:complete", decision)
    assert decided.status_code == 200, decided.text

    async def one_waits() -> bool:
        found = await insights(ada, workflow["project_id"], headers=after_write(decided))
        return found["metrics"]["runs"]["completed"] == found["metrics"]["runs"]["waiting"] == 1

    await eventually(one_waits, what="one run has completed and one waits", seconds=PATIENCE_SECONDS)
    found = await insights(ada, workflow["project_id"], f"?workflow_id={workflow['id']}")
    (step,) = found["metrics"]["workflows"][0]["steps"]
    assert (step["human"]["decided"], step["human"]["outcomes"]) == (1, {"approve": 1})
    assert step["human"]["wait"]["count"] == found["metrics"]["human_wait"]["count"] == 1


async def test_a_window_shows_what_lies_in_it_and_the_same_question_has_the_same_id(ada: Caller) -> None:
    workflow = await ada.workflow(TRANSFORM_CHAIN)
    run = await ada.post(f"/v1/workflows/{workflow['id']}:run", {"inputs": {}}, headers={"prefer": "wait=20"})
    past = "?from=2026-01-01T00:30:00Z&to=2026-01-03T23:30:00%2B01:00"
    found = await insights(ada, workflow["project_id"], past, after_write(run))
    assert found["time_window"] == {
        "starts_at": "2026-01-01T00:00:00Z",
        "ends_at": "2026-01-03T23:00:00Z",
        "series_seconds": 86_400,
    }
    assert found["metrics"]["runs"]["started"] == 0
    days = [point["starts_at"][:10] for point in found["metrics"]["series"]]
    assert days == ["2026-01-01", "2026-01-02", "2026-01-03"]
    assert found["id"] == (await insights(ada, workflow["project_id"], past))["id"]
    assert found["id"] != (await insights(ada, workflow["project_id"], f"{past}&workflow_id={workflow['id']}"))["id"]
    assert (await insights(ada, workflow["project_id"], "?window=90d"))["metrics"]["runs"]["completed"] == 1
    other = await ada.workflow(TRANSFORM_CHAIN, workflow["project_id"])
    narrowed = await insights(ada, workflow["project_id"], f"?workflow_id={other['id']}")
    assert (narrowed["metrics"]["runs"]["started"], narrowed["metrics"]["workflows"]) == (0, [])


async def test_nobody_sees_the_insights_of_another_workspace(ada: Caller) -> None:
    project = await ada.project()
    stranger = ada.to(new_id())
    expect_problem(await stranger.get(f"/v1/projects/{project['id']}/insights"), 404, "project_not_found")
