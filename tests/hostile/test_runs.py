"""The bounds on runs of a workspace, approached from both sides while a neighbour goes on."""

from typing import Any

import httpx2

from tests.hostile.conftest import SETTINGS
from tests.support.gateway.given import HUMAN, TRANSFORM_CHAIN, Caller, expect_problem
from tests.support.waiting import eventually

UNDER_WAY = SETTINGS.runs.workspace_under_way
A_MINUTE = SETTINGS.runs.workspace_begun_a_minute


async def check_neighbour(neighbour: Caller) -> None:
    assert (await neighbour.ended_run(TRANSFORM_CHAIN, {}))["status"] == "completed"


async def test_a_workspace_has_as_many_runs_under_way_as_its_bound_and_no_more(
    mallory: Caller, neighbour: Caller
) -> None:
    run = f"/v1/workflows/{(await mallory.workflow(HUMAN))['id']}:run"
    begun = [(await mallory.post(run, {})).json() for _ in range(UNDER_WAY)]
    assert all("id" in each for each in begun), begun[-1]
    refused = await post_until_refused(mallory, run, begun)
    problem = expect_problem(refused, 429, "too_many_runs")
    assert f"has {UNDER_WAY} runs under way" in problem["detail"]
    assert "CALLSHEET_RUNS_WORKSPACE_UNDER_WAY" in problem["detail"]
    assert refused.headers["retry-after"] == "5"
    await check_neighbour(neighbour)
    for each in begun:
        await mallory.post(f"/v1/runs/{each['id']}:cancel", {})

    async def is_accepted() -> bool:
        return (await mallory.post(run, {})).status_code == 202

    await eventually(is_accepted, what="another run may begin once one has ended")


async def post_until_refused(caller: Caller, path: str, begun: list[dict[str, Any]]) -> httpx2.Response:
    """Start runs until one is refused: those that are being counted are allowed on top of the bound."""
    for _ in range(10 * UNDER_WAY):
        answer = await caller.post(path, {})
        if answer.status_code != 202:
            return answer
        begun.append(answer.json())
    raise AssertionError("no run was refused")


async def test_a_workspace_begins_as_many_runs_a_minute_as_its_bound_and_no_more(
    mallory: Caller, neighbour: Caller
) -> None:
    run = f"/v1/workflows/{(await mallory.workflow(TRANSFORM_CHAIN))['id']}:run"
    answers = [await mallory.post(run, {}, headers={"prefer": "wait=10"}) for _ in range(2 * A_MINUTE + 1)]
    statuses = [answer.status_code for answer in answers]
    assert statuses[:A_MINUTE] == [200] * A_MINUTE
    problem = expect_problem(answers[statuses.index(429)], 429, "too_many_runs")  # also if a minute began meanwhile
    assert f"may begin {A_MINUTE} runs a minute" in problem["detail"]
    await check_neighbour(neighbour)


def maps(workflow_id: str, items: str, node_id: str = "each") -> dict[str, Any]:
    return {"nodes": [{"id": node_id, "kind": "map", "config": {"workflow_id": workflow_id, "items": items}}]}


async def test_a_family_of_runs_is_bounded_over_http(mallory: Caller, neighbour: Caller) -> None:
    node = {"id": "a", "kind": "transform", "config": {"expression": "inputs.item"}}
    leaf = await mallory.workflow({"nodes": [node]})
    outer = await mallory.workflow(maps(leaf["id"], "inputs.list"), leaf["project_id"])
    run = f"/v1/workflows/{outer['id']}:run"
    wait = {"prefer": "wait=10"}
    answers = [
        (await mallory.post(run, {"inputs": {"list": list(range(items))}}, headers=wait)).json()
        for items in (SETTINGS.runs.descendants, SETTINGS.runs.descendants + 1)
    ]
    assert answers[0]["status"] == "completed"
    assert answers[1]["status"] == "failed"
    assert answers[1]["error"]["error_class"] == "too_many_runs"
    assert "CALLSHEET_RUNS_DESCENDANTS" in answers[1]["error"]["message"]
    await check_neighbour(neighbour)
