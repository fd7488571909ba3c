"""Runs over HTTP, end to end: started, waited for, read, decided."""

import asyncio
import time

import pytest

from tests.support.gateway.given import (
    HUMAN,
    TRANSFORM_CHAIN,
    Caller,
    Environment,
    after_write,
    expect_problem,
    pointers,
)
from tests.support.waiting import eventually


async def test_a_run_is_waited_for_and_then_read(ada: Caller) -> None:
    workflow = await ada.workflow(TRANSFORM_CHAIN)
    answer = await ada.post(
        f"/v1/workflows/{workflow['id']}:run", {"inputs": {"topic": "tea"}}, headers={"prefer": "wait=20"}
    )
    run = answer.json()
    assert answer.status_code == 200, answer.text
    assert answer.headers["preference-applied"] == "wait=20"
    assert answer.headers["location"] == f"/v1/runs/{run['id']}"
    assert (run["status"], run["workflow_version"], run["error"]) == ("completed", 1, None)
    assert run["outputs"] == {"three": {"topic": "tea"}}
    assert {node: step["status"] for node, step in run["steps"].items()} == dict.fromkeys(
        ("one", "two", "three"), "completed"
    )
    assert run["metrics"]["steps_settled"] == 3
    read = await ada.get(f"/v1/runs/{run['id']}", headers=after_write(answer))
    assert read.status_code == 200, read.text
    assert read.json() == run
    assert read.headers["etag"] == answer.headers["etag"]


async def test_a_run_that_is_not_waited_for_is_accepted_at_once(ada: Caller) -> None:
    workflow = await ada.workflow(TRANSFORM_CHAIN)
    answer = await ada.post(f"/v1/workflows/{workflow['id']}:run")
    assert answer.status_code == 202
    assert "preference-applied" not in answer.headers
    run = answer.json()
    assert (run["status"], run["inputs"], run["outputs"], run["steps"]) == ("queued", {}, None, {})

    async def is_completed() -> bool:
        return (await ada.get(f"/v1/runs/{run['id']}", headers=after_write(answer))).json()["status"] == "completed"

    await eventually(is_completed, what="the run completes")


async def test_a_wait_ends_when_its_time_is_up(ada: Caller) -> None:
    workflow = await ada.workflow(HUMAN)
    began = time.monotonic()
    answer = await ada.post(f"/v1/workflows/{workflow['id']}:run", {}, headers={"prefer": "respond-async, wait=2"})
    assert 2 <= time.monotonic() - began < 20
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "wait=2"
    assert answer.json()["status"] == "waiting"


@pytest.mark.parametrize("prefer", ["respond-async", "wait=soon", "return=minimal, handling=strict", "wait=0"])
async def test_a_preference_that_is_ignored_is_said_to_be(ada: Caller, prefer: str) -> None:
    workflow = await ada.workflow(TRANSFORM_CHAIN)
    answer = await ada.post(f"/v1/workflows/{workflow['id']}:run", headers={"prefer": prefer})
    assert (answer.status_code, answer.headers["preference-applied"]) == (202, "none")


async def test_a_wait_where_nothing_is_waited_for_is_said_to_be_ignored(ada: Caller) -> None:
    wait = {"prefer": "wait=5"}
    workflow = await ada.workflow(TRANSFORM_CHAIN)
    read = await ada.get(f"/v1/workflows/{workflow['id']}", headers=wait)
    stream = await ada.get(f"/v1/projects/{workflow['project_id']}/events", headers=wait)
    missing = await ada.get("/v1/workflows/wf_none", headers=wait)
    assert [answer.headers["preference-applied"] for answer in (read, stream, missing)] == ["none"] * 3
    assert "preference-applied" not in (await ada.get(f"/v1/workflows/{workflow['id']}")).headers


async def test_a_repeated_start_waits_again_for_the_same_run(ada: Caller) -> None:
    workflow = await ada.workflow(TRANSFORM_CHAIN)
    path = f"/v1/workflows/{workflow['id']}:run"
    key = {"idempotency-key": "run"}
    first = await ada.post(path, {"inputs": {"n": 1}}, headers=key)
    assert first.status_code == 202
    plain = await ada.post(path, {"inputs": {"n": 1}}, headers=key)
    assert (plain.status_code, plain.content) == (202, first.content)
    again = await ada.post(path, {"inputs": {"n": 1}}, headers={**key, "prefer": "wait=20"})
    assert again.status_code == 200
    assert again.headers["idempotency-replayed"] == "true"
    assert (again.json()["id"], again.json()["status"]) == (first.json()["id"], "completed")
    expect_problem(await ada.post(path, {"inputs": {"n": 2}}, headers=key), 422, "idempotency_key_reused")


async def test_a_person_decides_and_one_decision_wins(ada: Caller) -> None:
    workflow = await ada.workflow(HUMAN)
    started = await ada.post(f"/v1/workflows/{workflow['id']}:run", {}, headers={"prefer": "wait=1"})
    waiting = started.json()["steps"]["review"]["waiting"]
    assert (waiting["waiting_for"], waiting["outcomes"]) == ("human", ["approve", "reject"])
    path = f"/v1/runs/{started.json()['id']}/steps/review:complete"
    found = expect_problem(
        await ada.post(path, {"outcome": "shrug", "data": {"note": 1}, "comment": "hm"}), 422, "decision_unacceptable"
    )
    assert pointers(found) == ["/outcome", "/data/note"]
    approval = {"outcome": "approve", "data": {"note": "x"}}
    bob = ada.as_user("usr_bob")
    expect_problem(await bob.post(path, approval), 404, "run_not_found")
    team = [{"user_id": "usr_ada", "role": "owner"}, {"user_id": "usr_bob", "role": "reviewer"}]
    joined = await ada.patch(f"/v1/projects/{started.json()['project_id']}", {"team": team})
    assert joined.status_code == 200, joined.text
    expect_problem(await bob.post(path, approval), 403, "not_an_assignee")
    outcomes = await asyncio.gather(
        *(ada.post(path, {"outcome": outcome, "data": {"note": "x"}}) for outcome in ("approve", "reject"))
    )
    assert sorted(answer.status_code for answer in outcomes) == [200, 409]
    won = next(answer for answer in outcomes if answer.status_code == 200)
    decision = won.json()["steps"]["review"]["decision"]
    assert (decision["data"], decision["decided_by"]) == ({"note": "x"}, "usr_ada")

    async def is_completed() -> bool:
        run = (await ada.get(f"/v1/runs/{started.json()['id']}", headers=after_write(won))).json()
        return run["status"] == "completed"

    await eventually(is_completed, what="the decided run completes")


async def test_a_step_that_is_not_in_the_graph_is_not_found_and_one_that_does_not_wait_is_a_conflict(
    ada: Caller,
) -> None:
    nodes = [*HUMAN["nodes"], {"id": "after", "kind": "transform"}]
    workflow = await ada.workflow({"nodes": nodes, "edges": [{"from": "review", "to": "after"}]})
    started = await ada.post(f"/v1/workflows/{workflow['id']}:run", {}, headers={"prefer": "wait=1"})
    path = f"/v1/runs/{started.json()['id']}/steps"
    answer = {"outcome": "approve", "data": {"note": "x"}}
    # A graph that the run is not pinned to says nothing of it.
    revised = await ada.patch(
        f"/v1/workflows/{workflow['id']}", {"nodes": [{"id": "nothing", "kind": "transform"}], "edges": []}
    )
    assert revised.status_code == 200
    found = expect_problem(await ada.post(f"{path}/nothing:complete", answer), 404, "step_not_found")
    assert found["detail"] == "The run's graph has no step 'nothing'."
    expect_problem(await ada.post(f"{path}/after:complete", answer), 409, "step_not_waiting")
    assert (await ada.post(f"{path}/review:complete", answer)).status_code == 200
    expect_problem(await ada.post(f"{path}/nothing:complete", answer), 404, "step_not_found")


async def test_runs_are_listed_by_project_and_by_workflow(ada: Caller) -> None:
    workflow = await ada.workflow(TRANSFORM_CHAIN)
    answers = [
        await ada.post(f"/v1/workflows/{workflow['id']}:run", {}, headers={"prefer": "wait=20"}) for _ in range(3)
    ]
    ids = [answer.json()["id"] for answer in answers]
    for path in (f"/v1/projects/{workflow['project_id']}/runs", f"/v1/workflows/{workflow['id']}/runs"):
        page = (await ada.get(f"{path}?limit=2", headers=after_write(answers[-1]))).json()
        rest = (await ada.get(f"{path}?limit=2&cursor={page['next_cursor']}")).json()
        assert [item["id"] for item in page["items"] + rest["items"]] == ids[::-1]
        assert rest["next_cursor"] is None
        oldest = (await ada.get(f"{path}?sort=created_at&status=completed")).json()
        assert [item["id"] for item in oldest["items"]] == ids
        assert (await ada.get(f"{path}?status=failed")).json()["items"] == []
        latest = (await ada.get(f"{path}?sort=-updated_at")).json()
        assert [item["id"] for item in latest["items"]] == ids[::-1]


async def test_large_inputs_are_whole_in_the_run_and_references_in_lists(ada: Caller) -> None:
    inputs = {"text": "long " * 10_000}
    workflow = await ada.workflow(TRANSFORM_CHAIN)
    answer = await ada.post(f"/v1/workflows/{workflow['id']}:run", {"inputs": inputs}, headers={"prefer": "wait=20"})
    run = answer.json()
    assert run["inputs"] == inputs
    assert run["outputs"] == {"three": inputs}
    listed = await ada.get(f"/v1/workflows/{workflow['id']}/runs", headers=after_write(answer))
    assert listed.json()["items"][0]["inputs"]["$ref"].startswith("sha256:")


async def test_nothing_starts_in_an_archived_workflow(ada: Caller) -> None:
    workflow = await ada.workflow(TRANSFORM_CHAIN)
    await ada.patch(f"/v1/workflows/{workflow['id']}", {"status": "archived"})
    expect_problem(await ada.post(f"/v1/workflows/{workflow['id']}:run", {}), 409, "workflow_not_active")


async def test_the_trace_is_taken_returned_and_stored(ada: Caller, environment: Environment) -> None:
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer = await ada.post("/v1/projects", {"name": "x"}, headers={"traceparent": traceparent})
    assert answer.headers["traceparent"] == traceparent
    position = int(answer.headers["callsheet-position"])
    (recorded,) = (await environment.core.log.read_log(after=position - 1, limit=1)).events
    assert recorded.metadata.traceparent == traceparent
    assert recorded.metadata.correlation_id == "0af7651916cd43dd8448eb211c80319c"
    assert (recorded.metadata.actor.kind, recorded.metadata.actor.id) == ("user", "usr_ada")
    for bad in ("", "00-0-0-0", f"00-{'0' * 32}-b7ad6b7169203331-01", f"ff{traceparent[2:]}"):
        made = (await ada.get("/v1/nothing", headers={"traceparent": bad})).headers["traceparent"]
        assert made != bad
        assert len(made) == len(traceparent)
