"""Insights over HTTP, end to end: runs are carried out, and their figures are read after them."""

from typing import Any

from tests.gateway.given import TRANSFORM_CHAIN, Caller, problem, since


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
    found = await insights(ada, workflow["project_id"], "?window=24h", since(answers[-1]))
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
    ):
        problem(await ada.get(f"{path}?{query}"), 400, "malformed")
    problem(await ada.get(f"{path}?from=2026-05-02T00:00:00Z&to=2026-05-01T00:00:00Z"), 400, "malformed")
    problem(await ada.get(f"{path}?workflow_id=run_1"), 400, "malformed")
