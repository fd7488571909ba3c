"""Work of callers and authors that would take long: others are served meanwhile, and it ends at its bound."""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable
from typing import Any

import httpx2
import msgspec
import pytest

from store.settings import WorkSettings
from tests.gateway.conftest import SETTINGS
from tests.support.gateway.given import (
    HUMAN,
    JSON,
    PATIENCE_SECONDS,
    Caller,
    Environment,
    expect_created,
    expect_problem,
    new_id,
    pointers,
    serving,
)
from tests.support.waiting import eventually

PROBES = 5
RANDOM = random.Random(1)  # noqa: S311  # no secret
TEXT = "".join(RANDOM.choice("ab") for _ in range(100_000))
PATTERNS = [{"not": {"pattern": f"(a|b)*a(a|b){{{400 + number}}}[c-f]"}} for number in range(60)]
"""They take a minute against the text."""


@pytest.fixture(scope="session")
async def bounded_environment(gateway_database: str) -> AsyncGenerator[Environment]:
    """A server whose workers have little CPU time."""
    settings = msgspec.structs.replace(SETTINGS, work=WorkSettings(seconds_max=3))
    async with serving(gateway_database, settings) as found:
        yield found


@pytest.fixture
async def eve(bounded_environment: Environment) -> AsyncGenerator[Caller]:
    """A caller who sends hostile requests."""
    async with httpx2.AsyncClient(base_url=bounded_environment.url, timeout=3 * PATIENCE_SECONDS) as client:
        yield Caller(client=client, workspace_id=new_id(), user_id="usr_ada")


async def probe_meanwhile(bounded_environment: Environment, hostile: Awaitable[httpx2.Response]) -> httpx2.Response:
    """Return the response to a hostile request; fail unless others are served before it arrives."""
    asked = asyncio.ensure_future(hostile)
    async with httpx2.AsyncClient(base_url=bounded_environment.url, timeout=3 * PATIENCE_SECONDS) as client:
        await asyncio.sleep(0)
        for _ in range(PROBES):
            assert (await client.get("/healthz")).status_code == 200
            assert not asked.done(), "it was no slow work, or it held everybody up"
    return await asked


async def wait_for_form(eve: Caller, form: dict[str, Any]) -> str:
    """Return a run that waits for the answer to a form."""
    graph: dict[str, Any] = {"nodes": [{**HUMAN["nodes"][0], "config": {**HUMAN["nodes"][0]["config"], "form": form}}]}
    workflow = await eve.workflow(graph)
    run = (await eve.post(f"/v1/workflows/{workflow['id']}:run", {})).json()["id"]

    async def waits() -> bool:
        return (await eve.get(f"/v1/runs/{run}")).json()["status"] == "waiting"

    await eventually(waits, what="the run waits")
    return run


async def test_a_form_of_many_patterns_ends_at_its_bound_while_others_are_served(
    bounded_environment: Environment, eve: Caller
) -> None:
    run = await wait_for_form(eve, {"properties": {"note": {"allOf": PATTERNS}}})
    path = f"/v1/runs/{run}/steps/review:complete"
    answer = await probe_meanwhile(bounded_environment, eve.post(path, {"outcome": "approve", "data": {"note": TEXT}}))
    expect_problem(answer, 422, "too_much_work")
    accepted = await eve.post(path, {"outcome": "approve", "data": {"other": "short"}})
    assert accepted.status_code == 200, "the step still waits, and an answer that is quick to validate is accepted"


async def test_problems_of_a_form_with_patterns_are_reported_as_those_of_others_are(eve: Caller) -> None:
    run = await wait_for_form(eve, {"properties": {"note": {"pattern": "^[a-z]+$"}}})
    path = f"/v1/runs/{run}/steps/review:complete"
    refused = await eve.post(path, {"outcome": "approve", "data": {"note": "A1"}})
    assert pointers(expect_problem(refused, 422, "decision_unacceptable")) == ["/data/note"]


async def test_a_condition_with_a_large_pattern_fails_its_step_while_others_are_served(
    bounded_environment: Environment, eve: Caller
) -> None:
    conditions = [f"inputs.text.matches('(a|b)*a(a|b){{900}}{number}')" for number in range(40)]
    graph: dict[str, Any] = {
        "nodes": [
            {"id": name, "kind": "transform", "config": {}}
            for name in ("a", *(f"b{n}" for n in range(len(conditions))))
        ],
        "edges": [{"from": "a", "to": f"b{n}", "when": when} for n, when in enumerate(conditions)],
    }
    workflow = await eve.workflow(graph)
    headers = {"prefer": "wait=20"}
    answer = await probe_meanwhile(
        bounded_environment, eve.post(f"/v1/workflows/{workflow['id']}:run", {"inputs": {"text": TEXT}}, headers)
    )
    run = answer.json()
    assert run["status"] == "failed", run
    assert "too much work" in run["error"]["message"]


async def test_conditions_that_leave_the_loop_decide_as_others_do(eve: Caller) -> None:
    graph: dict[str, Any] = {
        "nodes": [{"id": name, "kind": "transform", "config": {}} for name in "abc"],
        "edges": [
            {"from": "a", "to": "b", "when": "inputs.text.matches('^[ab]{100}')"},
            {"from": "a", "to": "c", "when": "inputs.text.matches('^[c]{100}')"},
        ],
    }
    run = await eve.ended_run(graph, {"text": TEXT})
    steps = {node: step["status"] for node, step in run["steps"].items()}
    assert steps == {"a": "completed", "b": "completed", "c": "skipped"}


@pytest.mark.parametrize("body", ['{"name": "x", "team": [%s]}' % ",".join(["{}"] * 30_000)], ids=["team"])  # noqa: UP031  # braces
async def test_a_list_of_many_wrong_items_is_refused_with_a_bounded_number_of_problems(eve: Caller, body: str) -> None:
    answer = await eve.ask("POST", "/v1/projects", content=body.encode(), headers=JSON)
    found = expect_problem(answer, 422, "body_unacceptable")
    assert "/team" in pointers(found)
    assert len(found["errors"]) <= 200


async def test_a_graph_of_many_patterns_is_checked_while_others_are_served(
    bounded_environment: Environment, eve: Caller
) -> None:
    form = {"anyOf": [{"pattern": f"(\\w{{30}}){{9}}{number}"} for number in range(2_000)]}
    config = {**HUMAN["nodes"][0]["config"], "form": form}
    graph: dict[str, Any] = {"name": "x", "nodes": [{**HUMAN["nodes"][0], "config": config}]}
    project = await eve.project()
    answer = await probe_meanwhile(bounded_environment, eve.post(f"/v1/projects/{project['id']}/workflows", graph))
    assert answer.status_code in {201, 422}, answer.text


async def test_a_template_that_strips_markup_takes_linear_time(eve: Caller) -> None:
    graph: dict[str, Any] = {
        "nodes": [
            {
                "id": "a",
                "kind": "human",
                "config": {"assignees": [{"user": "x"}], "instructions": "{{ inputs.t | strip_html }}"},
            }
        ]
    }
    workflow = await eve.workflow(graph)
    run = (await eve.post(f"/v1/workflows/{workflow['id']}:run", {"inputs": {"t": "<a <" * 20_000}})).json()["id"]

    async def waits() -> bool:
        return (await eve.get(f"/v1/runs/{run}")).json()["status"] == "waiting"

    await eventually(waits, what="the run waits")


async def test_a_request_that_transforms_repeat_is_refused_while_others_are_served(
    bounded_environment: Environment, eve: Caller
) -> None:
    repeated = "[" + ",".join(["inputs.l"] * 17) + "]"
    graph: dict[str, Any] = {"nodes": [{"id": "a", "kind": "transform", "config": {"expression": repeated}}]}
    workflow = await eve.workflow(graph)
    path, inputs = f"/v1/workflows/{workflow['id']}:run", {"l": [0] * 60_000}
    answer = await eve.post(path, {"inputs": inputs}, {"prefer": "wait=20"})
    assert answer.json()["status"] == "completed", answer.text[:300]
    assert expect_created(await eve.post("/v1/projects", {"name": "after"}))
    assert bounded_environment.core.workers.stopped_count >= 0
