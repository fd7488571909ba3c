"""Signals from outside: the first of a name counts, whenever it comes; and what runs say about themselves."""

import asyncio
from typing import Any

from tests.gateway.test_tasks import start_run
from tests.support.gateway.given import Caller, expect_problem, new_id, pointers

SCHEMA = {"type": "object", "properties": {"amount": {"type": "number"}}, "required": ["amount"]}
WAIT = {"id": "paid", "kind": "wait", "config": {"signal": "paid", "schema": SCHEMA}}
PAID = {"name": "paid", "data": {"amount": 12}}


async def signal(caller: Caller, run: str, body: dict[str, Any] = PAID) -> Any:  # noqa: ANN401  # a response
    return await caller.post(f"/v1/runs/{run}:signal", body, headers={"prefer": "wait=20"})


async def test_a_signal_ends_the_wait_and_only_the_first_of_its_name(ada: Caller) -> None:
    run = (await start_run(ada, await ada.workflow({"nodes": [WAIT]}))).json()["id"]
    waiting = (await ada.get(f"/v1/runs/{run}")).json()["steps"]["paid"]["waiting"]
    assert (waiting["waiting_for"], waiting["signal"], waiting["form"]) == ("signal", "paid", SCHEMA)
    wrong = expect_problem(await signal(ada, run, {"name": "paid", "data": {}}), 422, "signal_unacceptable")
    assert pointers(wrong) == ["/data"]
    expect_problem(await signal(ada, run, {"name": "gone", "data": {}}), 409, "signal_not_awaited")
    expect_problem(await signal(ada.to(new_id()), run), 404, "run_not_found")
    answers = await asyncio.gather(*(signal(ada, run) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]
    codes = {answer.json()["code"] for answer in answers if answer.status_code == 409}
    assert codes <= {"signal_already_sent", "run_not_running"}
    ended = (await ada.get(f"/v1/runs/{run}")).json()
    assert ended["outputs"] == {"paid": {"received": True, "data": {"amount": 12}}}
    assert ended["steps"]["paid"]["signal"]["signalled_by"] == "usr_ada"


async def test_a_signal_that_comes_before_its_step_waits_is_kept_for_it(ada: Caller) -> None:
    first = {"id": "first", "kind": "wait", "config": {"signal": "go"}}
    workflow = await ada.workflow({"nodes": [first, WAIT], "edges": [{"from": "first", "to": "paid"}]})
    run = (await start_run(ada, workflow)).json()["id"]
    assert (await ada.post(f"/v1/runs/{run}:signal", PAID)).status_code == 202
    expect_problem(await signal(ada, run), 409, "signal_already_sent")
    ended = await signal(ada, run, {"name": "go"})
    assert ended.json()["outputs"] == {"paid": {"received": True, "data": {"amount": 12}}}


async def test_a_wait_is_over_at_its_deadline_with_or_without_data(ada: Caller) -> None:
    soon = {"after_seconds": 0.1}
    config = {"signal": "a", "deadline": {**soon, "then": {"action": "continue", "data": "none"}}}
    ended = await ada.ended_run({"nodes": [{"id": "a", "kind": "wait", "config": config}]}, {})
    assert ended["outputs"] == {"a": {"received": False, "data": "none"}}
    failed = await ada.ended_run(
        {"nodes": [{"id": "a", "kind": "wait", "config": {"signal": "a", "deadline": soon}}]}, {}
    )
    assert (failed["status"], failed["error"]["error_class"]) == ("failed", "deadline")
    assert "No signal 'a' came" in failed["error"]["message"]


async def test_templates_and_queries_see_the_run(ada: Caller) -> None:
    template = "{{ run.name }} {{ run.labels.shop }} {{ run.started_at }}"
    nodes = [
        {
            "id": "text",
            "kind": "compose",
            "config": {"template": template},
        },
        {"id": "url", "kind": "transform", "config": {"expression": "run.signal_url"}},
    ]
    workflow = await ada.workflow({"nodes": nodes})
    answer = await ada.post(
        f"/v1/workflows/{workflow['id']}:run",
        {"name": "Order 7", "labels": {"shop": "tea"}},
        headers={"prefer": "wait=20"},
    )
    ended = answer.json()
    assert (ended["name"], ended["labels"]) == ("Order 7", {"shop": "tea"})
    assert ended["outputs"] == {
        "text": f"Order 7 tea {ended['started_at']}",
        "url": f"http://127.0.0.1:8000/v1/runs/{ended['id']}:signal",
    }


async def test_inputs_that_do_not_meet_the_schema_are_refused_with_pointers(ada: Caller) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name"],
        "additionalProperties": False,
    }
    greet = {"id": "greet", "kind": "compose", "config": {"template": "Hello {{ inputs.name }}"}}
    workflow = await ada.workflow({"nodes": [greet], "input_schema": schema})
    assert workflow["input_schema"] == schema
    path = f"/v1/workflows/{workflow['id']}"
    refused = await ada.post(f"{path}:run", {"inputs": {"name": 1, "age": "x"}})
    assert pointers(expect_problem(refused, 422, "inputs_unacceptable")) == ["/inputs/name", "/inputs/age"]
    run = await ada.post(f"{path}:run", {"inputs": {"name": "Ana"}}, headers={"prefer": "wait=20"})
    assert run.json()["outputs"] == {"greet": "Hello Ana"}
    fork = await ada.post(f"/v1/runs/{run.json()['id']}:fork", {"node": "greet", "inputs": {}})
    expect_problem(fork, 422, "inputs_unacceptable")
    wrong = await ada.patch(path, {"nodes": [{**greet, "config": {"template": "{{ inputs.nam }}"}}]})
    assert pointers(expect_problem(wrong, 422, "graph_unacceptable")) == ["/nodes/0/config/template"]
    assert "did you mean name?" in wrong.text
    bad = await ada.patch(path, {"input_schema": {"type": "text"}})
    assert pointers(expect_problem(bad, 422, "graph_unacceptable")) == ["/input_schema/type"]
    assert (await ada.patch(path, {"input_schema": None})).json()["input_schema"] is None
