"""Cancel, retry and fork over HTTP, end to end, and their events in the run's stream."""

from typing import Any, Final

from domain.payload import INLINE_BYTES
from tests.support.gateway.given import HUMAN, TRANSFORM_CHAIN, Caller, after_write, expect_problem, new_id, pointers
from tests.support.waiting import eventually

FAILING: Final[dict[str, Any]] = {
    "nodes": [
        {"id": "one", "kind": "prompt", "config": {"model": "scripted/writer", "template": "Tea"}},
        {
            "id": "two",
            "kind": "prompt",
            "config": {"model": "scripted/writer", "template": "{{ inputs.n | minus: 1 }}"},
        },
        {"id": "three", "kind": "transform", "config": {"expression": "abs(inputs.word)"}},
    ],
    "edges": [{"from": "one", "to": "two"}, {"from": "two", "to": "three"}],
}
MENDED: Final[dict[str, Any]] = {
    **FAILING,
    "nodes": [
        *FAILING["nodes"][:2],
        {"id": "three", "kind": "transform", "config": {"expression": "steps.two.output"}},
    ],
}
WAIT: Final = {"prefer": "wait=20"}


async def waiting_run(ada: Caller) -> dict[str, Any]:
    workflow = await ada.workflow(HUMAN)
    answer = await ada.post(f"/v1/workflows/{workflow['id']}:run", {}, headers={"prefer": "wait=1"})
    assert answer.json()["status"] == "waiting", answer.text
    return answer.json()


async def topics(ada: Caller, run_id: str, headers: dict[str, str] | None = None) -> tuple[list[str], str]:
    """Return the topics that a run's stream sends until it ends, and the last id."""
    answer = await ada.get(f"/v1/runs/{run_id}/events", headers={"accept": "text/event-stream", **(headers or {})})
    assert answer.status_code == 200, answer.text
    lines = answer.text.splitlines()
    ids = [line.removeprefix("id: ") for line in lines if line.startswith("id: ")]
    return [line.removeprefix("event: ") for line in lines if line.startswith("event: ")], ids[-1]


async def test_a_cancelled_run_says_so_everywhere(ada: Caller) -> None:
    run = await waiting_run(ada)
    path = f"/v1/runs/{run['id']}:cancel"
    answer = await ada.post(path, {"reason": "too late"}, headers=WAIT)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["status"], answer.json()["steps"]["review"]["status"]) == ("cancelled", "cancelled")
    assert (await ada.post(path)).status_code == 202, "asking again changes nothing"
    listed = await ada.get(f"/v1/workflows/{run['workflow_id']}/runs?status=cancelled", headers=after_write(answer))
    assert [item["id"] for item in listed.json()["items"]] == [run["id"]]
    sent, last = await topics(ada, run["id"])
    assert sent[-2:] == ["run.cancel-requested", "run.cancelled"]
    again = await ada.get(
        f"/v1/runs/{run['id']}/events", headers={"accept": "text/event-stream", "last-event-id": last}
    )
    assert again.status_code == 204
    decided = {"outcome": "approve", "data": {"note": "x"}}
    expect_problem(await ada.post(f"/v1/runs/{run['id']}/steps/review:complete", decided), 409, "run_not_running")


async def test_a_retried_run_goes_on_in_the_same_stream(ada: Caller) -> None:
    run = await ada.ended_run(FAILING, {"n": 1, "word": "x"})
    assert (run["status"], run["attempt"], run["metrics"]["model_calls"]) == ("failed", 1, 2)
    sent, last = await topics(ada, run["id"])
    assert sent[-1] == "run.failed"
    path = f"/v1/runs/{run['id']}:retry"
    key = {"idempotency-key": "again", **WAIT}
    answer = await ada.post(path, headers=key)
    assert (answer.status_code, answer.json()["status"], answer.json()["attempt"]) == (200, "failed", 2)
    assert answer.json()["steps"]["one"] == run["steps"]["one"]
    assert run["earlier_attempts"] == []
    assert answer.json()["earlier_attempts"] == [
        {"attempt": 1, "status": "failed", "error": run["error"], "ended_at": run["ended_at"]}
    ]
    replayed = await ada.post(path, headers=key)
    assert (replayed.headers["idempotency-replayed"], replayed.json()["attempt"]) == ("true", 2)
    sent, _ = await topics(ada, run["id"], {"last-event-id": last})
    assert (sent[0], sent[-1]) == ("run.retried", "run.failed")


async def test_a_retry_takes_the_newest_graph_where_it_leaves_alone_what_is_done(ada: Caller) -> None:
    run = await ada.ended_run(FAILING, {"n": 1, "word": "x"})
    workflow = f"/v1/workflows/{run['workflow_id']}"
    other = {**MENDED, "nodes": [{**MENDED["nodes"][0], "config": {"model": "scripted/b", "template": "Tea"}},
                                 *MENDED["nodes"][1:]]}  # fmt: skip
    assert (await ada.patch(workflow, other)).status_code == 200
    path = f"/v1/runs/{run['id']}:retry"
    found = expect_problem(await ada.post(path, {"newest_graph": True}), 409, "completed_part_changed")
    assert pointers(found) == ["/nodes/0"]
    assert "'one'" in found["errors"][0]["message"]
    assert (await ada.patch(workflow, MENDED)).status_code == 200
    answer = await ada.post(path, {"newest_graph": True}, headers=WAIT)
    ended = answer.json()
    assert (answer.status_code, ended["status"], ended["workflow_version"]) == (200, "completed", 3), answer.text
    assert ended["outputs"]["three"] == run["steps"]["two"]["output"]
    assert ended["metrics"]["model_calls"] == 2
    expect_problem(await ada.post(path), 409, "run_not_retriable")
    expect_problem(await ada.post(f"/v1/runs/{run['id']}:cancel"), 409, "run_not_running")


async def test_a_fork_is_a_run_that_says_where_it_comes_from(ada: Caller) -> None:
    run = await ada.ended_run(TRANSFORM_CHAIN, {"n": 1})
    path = f"/v1/runs/{run['id']}:fork"
    answer = await ada.post(path, {"node": "two", "inputs": {"n": 2}}, headers={"idempotency-key": "fork", **WAIT})
    fork = answer.json()
    assert (answer.status_code, fork["status"]) == (200, "completed"), answer.text
    assert answer.headers["location"] == f"/v1/runs/{fork['id']}"
    assert fork["forked_from"] == {"run_id": run["id"], "node": "two"}
    assert (fork["steps"]["one"]["reused_from"], "reused_from" in fork["steps"]["two"]) == (run["id"], False)
    assert (fork["inputs"], fork["outputs"]) == ({"n": 2}, {"three": {"n": 1}}), "the first step is taken over"
    replayed = await ada.post(path, {"node": "two", "inputs": {"n": 2}}, headers={"idempotency-key": "fork"})
    assert replayed.json()["id"] == fork["id"]
    events = (await ada.get(f"/v1/runs/{fork['id']}/events")).json()["items"]
    assert events[0]["data"]["forked_from"] == fork["forked_from"]
    assert (events[1]["type"], events[1]["data"]["from_run"]) == ("step.reused", run["id"])


async def test_a_run_that_goes_on_can_be_forked(ada: Caller) -> None:
    run = await waiting_run(ada)
    fork = (await ada.post(f"/v1/runs/{run['id']}:fork", {"node": "review"})).json()

    async def waits() -> bool:
        return (await ada.get(f"/v1/runs/{fork['id']}")).json().get("status") == "waiting"

    await eventually(waits, what="the fork waits for a person of its own")
    assert (await ada.get(f"/v1/runs/{run['id']}")).json()["status"] == "waiting"


async def test_what_cannot_be_done_to_a_run_is_told(ada: Caller) -> None:
    run = await ada.ended_run(TRANSFORM_CHAIN, {})
    path = f"/v1/runs/{run['id']}"
    assert pointers(expect_problem(await ada.post(f"{path}:fork", {"inputs": 1}), 422, "body_unacceptable")) == [
        "/node", "/inputs"
    ]  # fmt: skip
    expect_problem(await ada.post(f"{path}:retry", {"newest": True}), 422, "body_unacceptable")
    expect_problem(await ada.post(f"{path}:cancel", {"reason": 1}), 422, "body_unacceptable")
    found = expect_problem(await ada.post(f"{path}:fork", {"node": "nothing"}), 404, "step_not_found")
    assert found["detail"] == "The graph has no step 'nothing'."
    expect_problem(await ada.post(f"{path}:retry"), 409, "run_not_retriable")
    stranger = ada.to(new_id())
    for verb, body in (("cancel", {}), ("retry", {}), ("fork", {"node": "one"})):
        expect_problem(await stranger.post(f"{path}:{verb}", body), 404, "run_not_found")


async def test_what_a_step_gave_before_a_condition_failed_is_shown_and_kept(ada: Caller) -> None:
    broken = {
        **MENDED,
        "edges": [MENDED["edges"][0], {"from": "two", "to": "three", "when": "steps.two.output.no == 1"}],
    }
    failed = await ada.ended_run(broken, {"n": 5})
    two = failed["steps"]["two"]
    assert (failed["status"], two["status"], two["error"]["error_class"]) == ("failed", "failed", "expression")
    assert "output" not in two
    assert isinstance(two["gave"], str)
    assert (await ada.patch(f"/v1/workflows/{failed['workflow_id']}", MENDED)).status_code == 200
    answer = await ada.post(f"/v1/runs/{failed['id']}:retry", {"newest_graph": True}, headers=WAIT)
    again = answer.json()
    assert (again["status"], again["outputs"]) == ("completed", {"three": two["gave"]})
    assert (again["steps"]["two"]["output"], again["steps"]["two"]["usage"]) == (two["gave"], two["usage"])
    assert "gave" not in again["steps"]["two"]
    assert again["metrics"]["model_calls"] == failed["metrics"]["model_calls"] == 2


async def test_what_a_step_that_failed_goes_on_with_is_shown_as_its_output(ada: Caller) -> None:
    three = {**FAILING["nodes"][2], "on_error": {"action": "continue", "output": {"n": 0}}}
    ended = await ada.ended_run({**FAILING, "nodes": [*FAILING["nodes"][:2], three]}, {"n": 1, "word": "x"})
    step = ended["steps"]["three"]
    assert (ended["status"], step["status"], step["error"]["error_class"]) == ("completed", "failed", "expression")
    assert step["output"] == ended["outputs"]["three"] == {"n": 0}


async def test_what_a_step_gave_is_shown_however_large_it_is(ada: Caller) -> None:
    text = "x" * 2 * INLINE_BYTES
    two = {"id": "two", "kind": "transform", "config": {"expression": "inputs.text"}}
    way = {"from": "two", "to": "three", "when": "steps.two.output.no == 1"}
    failed = await ada.ended_run({"nodes": [two, {"id": "three", "kind": "transform"}], "edges": [way]}, {"text": text})
    assert failed["steps"]["two"]["gave"] == text
