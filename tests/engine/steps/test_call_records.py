"""Calls on record: rejected, failed and slow ones too, reasoning apart, and `http` steps without their secrets."""

from collections.abc import AsyncGenerator, Generator
from dataclasses import replace
from typing import Any, cast

import msgspec
import pytest

from commands.aggregates import RUN
from domain.graphs.compiled import compile_graph
from domain.graphs.graph import ErrorClass
from domain.graphs.validation.check import check_graph
from domain.graphs.validation.semantics import KnownReferences
from domain.payload import NOTHING
from domain.runs.facts import StepAsked, StepCompleted, StepFailed
from domain.runs.run import RunStatus
from engine.egress.allow_list import AllowList
from engine.providers.provider import Provider
from engine.settings import OutgoingSettings
from engine.steps.call_records import NOT_RECORDED
from engine.steps.contract import StepCall
from engine.steps.http.secrets import HttpSecret
from engine.steps.http.step import HttpSteps
from engine.steps.run_data import RunData
from gateway.runs.calls import CallHistory, CallStatus
from store.contents import resolve
from tests.engine.providers.conftest import LOCAL, speaking
from tests.support.commands.processes import new_id
from tests.support.engine.harness import FakeModel, Harness, asks, open_harness
from tests.support.engine.workers import create_evaluator
from tests.support.graphs import Json, graph, node
from tests.support.model_server.server import ModelServer
from tests.support.servers.web import WebServer
from tests.support.store.given import WORKSPACE

SCHEMA: Json = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
SECRET = "tok-0123456789abcdef"  # noqa: S105  # of a test


@pytest.fixture
def server() -> Generator[ModelServer]:
    with ModelServer() as running:
        yield running


@pytest.fixture
async def provider(server: ModelServer) -> AsyncGenerator[Provider]:
    made = speaking("openai", server.base_url)
    yield made
    await made.close()


def prompt(model: str, **config: Any) -> Json:  # noqa: ANN401  # JSON
    return node("a", kind="prompt", config={"model": f"fake/{model}", "template": "How many?", **config})


async def test_each_repair_is_a_call_with_the_answer_that_it_repairs(
    database: str, provider: Provider, server: ModelServer
) -> None:
    server.script_behaviours("text?It is one", "echo")
    async with open_harness(database) as plain:
        harness = replace(plain, fake_model=cast("FakeModel", provider))
        async with harness.run_engine():
            run = await harness.begin(graph(prompt("echo", output={"format": "json", "schema": SCHEMA})))
            await harness.wait_until_ended(run)
            history = CallHistory("a")
            for recorded in await harness.facts(run):
                history.add(recorded)
    first, second = history.list_after(0)
    assert (first.status, second.status) == (CallStatus.REJECTED, CallStatus.COMPLETED)
    assert (first.number, second.number) == (1, 2)
    assert first.answered.value == {"text": "It is one"}
    asked: Any = second.asked.value
    assert asked["repair"]["answer"] == "It is one"
    assert asked["schema"] == SCHEMA
    assert second.answered.value == {"n": 1}
    assert first.problems
    assert first.usage is not None


async def test_a_failed_call_shows_what_was_asked(database: str, provider: Provider) -> None:
    async with open_harness(database) as plain:
        harness = replace(plain, fake_model=cast("FakeModel", provider))
        async with harness.run_engine():
            run = await harness.begin(graph(prompt("status-500")))
            await harness.wait_until_ended(run, RunStatus.FAILED)
            [failed] = [fact for fact in await harness.list_facts(run) if isinstance(fact, StepFailed)]
    assert failed.call is not None
    assert failed.call.asked.value == {"model": "fake/status-500", "prompt": "How many?"}


async def test_reasoning_is_kept_beside_the_log_and_in_no_event(database: str, provider: Provider) -> None:
    async with open_harness(database) as plain:
        harness = replace(plain, fake_model=cast("FakeModel", provider))
        async with harness.run_engine():
            run = await harness.begin(graph(prompt("thinks")))
            ended = await harness.wait_until_ended(run)
            facts = await harness.list_facts(run)
            [completed] = [fact for fact in facts if isinstance(fact, StepCompleted)]
            assert completed.call is not None
            answered = await resolve(harness.contents, WORKSPACE, completed.call.answered)
    assert ended.outputs["a"].value == "Half of"
    assert answered == {"text": "Half of", "reasoning": "Let me think."}
    assert completed.usage is not None
    assert completed.usage.reasoning_characters == 13
    assert "Let me think" not in msgspec.json.encode(facts).decode()


async def test_a_slow_call_is_on_record_before_it_is_answered_and_once(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        run = await harness.begin(graph(asks("a", "held")))
        await harness.wait_until_called("a")

        def is_announced(facts: list[Any]) -> bool:
            return any(isinstance(fact, StepAsked) for fact in facts)

        while not is_announced(await harness.list_facts(run)):
            await harness.wait_until(run, lambda _state: True, "is read")
        harness.fake_model.open.set()
        await harness.wait_until_ended(run)
        facts = await harness.facts(run)
    [asked] = [recorded.fact for recorded in facts if isinstance(recorded.fact, StepAsked)]
    [completed] = [recorded.fact for recorded in facts if isinstance(recorded.fact, StepCompleted)]
    assert asked.call.asked.value == {"model": "fake/held", "prompt": "a"}
    assert completed.call is not None
    assert completed.call.asked == NOTHING, "it is not written twice"
    history = CallHistory("a")
    for recorded in facts:
        history.add(recorded)
    [call] = history.list_after(0)
    assert (call.status, call.asked.value) == (CallStatus.COMPLETED, {"model": "fake/held", "prompt": "a"})


async def test_what_cannot_be_stored_as_it_is_fails_no_step(database: str) -> None:
    async with open_harness(database) as harness:
        recorder = harness.executors().prompts.recorder
        compiled = compile_graph(check_graph(graph(asks("a")), KnownReferences()))
        call = StepCall(
            workspace_id=WORKSPACE,
            run_id=new_id(),
            run=RUN.initial,
            graph=compiled,
            node=compiled.nodes["a"],
            attempt=1,
            data=RunData({}),
            traceparent=None,
        )
        records: list[Any] = []
        deep: list[Any] = []
        for _ in range(400):
            deep = [deep]
        for document in ({"prompt": "a\0b"}, {"prompt": "a\ud800b"}, {"prompt": deep}, {"prompt": "x" * 17_000_000}):
            opened = await recorder.begin(call, 1, document)
            assert opened is not None
            records.append(opened.end().asked.value)
    assert records == [{"prompt": "ab"}, {"prompt": "a?b"}, NOT_RECORDED, NOT_RECORDED]


def http_steps() -> HttpSteps:
    secrets = {"token": HttpSecret(SECRET, AllowList("127.0.0.1"))}
    return HttpSteps(LOCAL, secrets, OutgoingSettings(timeout_seconds=20), create_evaluator())


async def play_http(harness: Harness, config: Json, status: RunStatus) -> list[Any]:
    steps = http_steps()
    harness = replace(harness, http=steps)
    try:
        async with harness.run_engine():
            run = await harness.begin(graph(node("a", kind="http", config=config)))
            await harness.wait_until_ended(run, status)
            return await harness.list_facts(run)
    finally:
        await steps.close()


async def test_an_http_step_records_its_request_without_secrets(database: str) -> None:
    with WebServer() as web:
        config: Json = {
            "url": web.url("/echo/x?key={{ secrets.token }}"),
            "method": "POST",
            "headers": {"Authorization": "Bearer written-into-the-template", "X-Token": "{{ secrets.token }}"},
            "body": '{"a": 1, "b": "{{ secrets.token }}"}',
        }
        async with open_harness(database) as harness:
            facts = await play_http(harness, config, RunStatus.COMPLETED)
    [completed] = [fact for fact in facts if isinstance(fact, StepCompleted)]
    assert completed.call is not None
    asked: Any = completed.call.asked.value
    assert asked["method"] == "POST"
    assert asked["url"].endswith("/echo/x?key=…") or asked["url"].endswith("/echo/x?key=%E2%80%A6")
    assert asked["body"] == '{"a": 1, "b": "…"}'
    assert (asked["headers"]["authorization"], asked["headers"]["x-token"]) == ("…", "…")
    assert SECRET not in msgspec.json.encode(completed.call).decode()


async def test_a_failed_http_step_records_its_request(database: str) -> None:
    with WebServer() as web:
        async with open_harness(database) as harness:
            facts = await play_http(harness, {"url": web.url("/status/404")}, RunStatus.FAILED)
    [failed] = [fact for fact in facts if isinstance(fact, StepFailed)]
    assert failed.error.error_class is ErrorClass.BAD_REQUEST
    assert failed.call is not None
    asked: Any = failed.call.asked.value
    assert asked["url"].endswith("/status/404")
