"""Requests and answers of steps are on record, and read by `GET /v1/runs/{runId}/steps/{nodeId}/calls`."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import pytest

from tests.support.gateway.given import Caller, expect_created, expect_problem, pointers

SCHEMA: Final = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
PROMPT: Final[Mapping[str, Any]] = {
    "nodes": [
        {
            "id": "ask",
            "kind": "prompt",
            "config": {
                "model": "scripted/m",
                "system": "Be brief.",
                "template": "A headline for {{ inputs.thing }}",
                "parameters": {"max_output_tokens": 400, "temperature": 0.5},
                "output": {"format": "json", "schema": SCHEMA},
            },
        }
    ]
}
PLAIN: Final[Mapping[str, Any]] = {
    "nodes": [{"id": "ask", "kind": "prompt", "config": {"model": "scripted/m", "template": "{{ inputs.thing }}"}}]
}


async def play(ada: Caller, settings: dict[str, Any], graph: Mapping[str, Any], thing: str) -> dict[str, Any]:
    project = expect_created(await ada.post("/v1/projects", {"name": "P", "settings": settings}))
    workflow = await ada.workflow(graph, project["id"])
    answer = await ada.post(
        f"/v1/workflows/{workflow['id']}:run", {"inputs": {"thing": thing}}, headers={"prefer": "wait=20"}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


async def list_calls(ada: Caller, run: dict[str, Any], query: str = "") -> list[dict[str, Any]]:
    response = await ada.get(f"/v1/runs/{run['id']}/steps/ask/calls{query}")
    assert response.status_code == 200, response.text
    return response.json()["items"]


async def list_events(ada: Caller, run: dict[str, Any]) -> list[dict[str, Any]]:
    return (await ada.get(f"/v1/runs/{run['id']}/events")).json()["items"]


async def test_a_call_shows_what_was_asked_answered_and_taken(ada: Caller) -> None:
    run = await play(ada, {}, PROMPT, "a lamp")
    [call] = await list_calls(ada, run)
    assert call["asked"] == {
        "model": "scripted/m",
        "system": "Be brief.",
        "prompt": "A headline for a lamp",
        "parameters": {"max_output_tokens": 400, "temperature": 0.5},
        "schema": SCHEMA,
    }
    assert call["answered"] == {"n": 1}
    assert (call["status"], call["run_attempt"], call["attempt"], call["number"]) == ("completed", 1, 1, 1)
    assert call["usage"] == run["steps"]["ask"]["usage"]
    assert call["usage"]["cost_usd"] == "0"
    assert call["asked_at"] <= call["ended_at"]


@pytest.mark.parametrize("thing", ["a lamp", "long " * 10_000])
async def test_a_personal_prompt_is_in_no_event_and_has_no_plain_digest(ada: Caller, thing: str) -> None:
    run = await play(ada, {"record_calls": "personal"}, PLAIN, thing)
    [call] = await list_calls(ada, run)
    assert call["asked"] == {"model": "scripted/m", "prompt": thing}
    [completed] = [event for event in await list_events(ada, run) if event["type"] == "step.completed"]
    assert completed["data"]["call"]["asked"]["$ref"].startswith("hmac-sha256:")
    assert thing not in msgspec.json.encode(completed["data"]["call"]).decode()


async def test_a_large_prompt_is_kept_beside_the_log_by_its_digest(ada: Caller) -> None:
    run = await play(ada, {}, PLAIN, "long " * 1_000)
    [completed] = [event for event in await list_events(ada, run) if event["type"] == "step.completed"]
    assert completed["data"]["call"]["asked"]["$ref"].startswith("sha256:")
    assert (await list_calls(ada, run))[0]["asked"]["prompt"] == "long " * 1_000


async def test_a_project_that_records_no_calls_has_their_usage_alone(ada: Caller) -> None:
    run = await play(ada, {"record_calls": "off"}, PLAIN, "a lamp")
    [call] = await list_calls(ada, run)
    assert "asked" not in call
    assert call["usage"]["model"] == "scripted/m"
    [completed] = [event for event in await list_events(ada, run) if event["type"] == "step.completed"]
    assert "call" not in completed["data"]


async def test_a_setting_that_is_not_understood_is_refused(ada: Caller) -> None:
    body = {"name": "P", "settings": {"record_calls": "sometimes", "colour": "red"}}
    found = expect_problem(await ada.post("/v1/projects", body), 422, "body_unacceptable")
    assert pointers(found) == ["/settings/record_calls"]
    project = await ada.project()
    response = await ada.patch(f"/v1/projects/{project['id']}", {"settings": {"record_calls": 1}})
    assert pointers(expect_problem(response, 422, "body_unacceptable")) == ["/settings/record_calls"]


async def test_a_step_without_calls_has_none_and_an_unknown_one_is_not_found(ada: Caller) -> None:
    graph = {"nodes": [{"id": "ask", "kind": "transform"}]}
    run = await ada.ended_run(graph, {})
    assert await list_calls(ada, run) == []
    response = await ada.get(f"/v1/runs/{run['id']}/steps/nowhere/calls")
    expect_problem(response, 404, "step_not_found")
