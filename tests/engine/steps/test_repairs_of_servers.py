"""Repairs over the wire: models that do not write the JSON that they were asked for, in both protocols."""

from collections.abc import AsyncGenerator, Generator
from dataclasses import replace
from typing import Any, cast

import msgspec
import pytest

from domain.fact import Fact
from domain.graphs.graph import ErrorClass
from domain.runs.facts import AnswerRejected, StepFailed
from domain.runs.run import Run, RunStatus
from domain.runs.steps import list_usages
from engine.providers.provider import Provider
from tests.engine.providers.conftest import speaking
from tests.support.engine.harness import FakeModel, check_history, open_harness
from tests.support.graphs import Json, graph, node
from tests.support.model_server.server import ModelServer

SCHEMA: Json = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@pytest.fixture
def server() -> Generator[ModelServer]:
    with ModelServer() as running:
        yield running


@pytest.fixture(params=["openai", "anthropic"])
async def provider(request: pytest.FixtureRequest, server: ModelServer) -> AsyncGenerator[Provider]:
    """A provider of one protocol and then of the other."""
    made = speaking(request.param, server.base_url)
    yield made
    await made.close()


def asks(model: str, repairs: int = 2) -> Json:
    output: Json = {"format": "json", "schema": SCHEMA, "repair_attempts": repairs}
    return graph(node(kind="prompt", config={"model": f"fake/{model}", "template": "How many?", "output": output}))


def behind(provider: Provider) -> FakeModel:
    """Return a real provider typed as the fake model that it replaces."""
    return cast("FakeModel", provider)


async def test_a_model_that_fails_at_first_is_told_what_was_wrong_and_mends_it(
    database: str, provider: Provider, server: ModelServer
) -> None:
    server.script_behaviours("text?Half of it", "echo")
    async with open_harness(database) as plain:
        harness = replace(plain, fake_model=behind(provider))
        async with harness.run_engine():
            run = await harness.begin(asks("echo"))
            ended = await harness.wait_until_ended(run)
            facts = await harness.list_facts(run)
    output: Any = ended.outputs["a"].value
    assert isinstance(output["n"], int)
    rejected = [fact for fact in facts if isinstance(fact, AnswerRejected)]
    assert len(rejected) == 1
    assert len(server.calls) == 2
    assert "Half of" in str(server.calls[1].body["messages"]), "it is shown what it wrote"
    assert len({call.idempotency_token for call in server.calls}) == 2
    assert len(list_usages(ended.steps["a"])) == 2
    check_history(facts)


async def test_a_model_that_never_writes_json_fails_after_its_repairs(
    database: str, provider: Provider, server: ModelServer
) -> None:
    async with open_harness(database) as plain:
        harness = replace(plain, fake_model=behind(provider))
        async with harness.run_engine():
            run = await harness.begin(asks("text?Half", repairs=3))
            ended = await harness.wait_until_ended(run, RunStatus.FAILED)
            facts = await harness.list_facts(run)
    assert [fact.repair for fact in facts if isinstance(fact, AnswerRejected)] == [1, 2, 3]
    assert len(server.calls) == 4
    assert ended.error is not None
    assert ended.error.error_class is ErrorClass.INVALID_OUTPUT
    assert len(list_usages(ended.steps["a"])) == 4, "every answer was paid for"


@pytest.mark.parametrize(
    ("model", "error_class"),
    [
        ("status-404?code=model_not_found", ErrorClass.BAD_REQUEST),
        ("filtered", ErrorClass.CONTENT_REFUSED),
        ("cut", ErrorClass.UNAVAILABLE),
    ],
)
async def test_a_model_that_gives_no_answer_is_not_asked_to_repair_it(
    database: str, provider: Provider, server: ModelServer, model: str, error_class: ErrorClass
) -> None:
    async with open_harness(database) as plain:
        harness = replace(plain, fake_model=behind(provider))
        async with harness.run_engine():
            run = await harness.begin(asks(model))
            await harness.wait_until_ended(run, RunStatus.FAILED)
            facts = await harness.list_facts(run)
    assert len(server.calls) == 1
    [failed] = [fact for fact in facts if isinstance(fact, StepFailed)]
    assert failed.error.error_class is error_class


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("done-alone", "The model returned no text: the response ended before the first word"),
        ("nothing", "The model returned no text: the response ended before the first word"),
        ("spent", "The model returned no text: max_output_tokens was used up"),
        ("tool", "The model returned no text: it requested a tool call"),
    ],
)
async def test_a_model_that_gives_no_text_fails_its_step_and_is_paid_once(
    database: str, provider: Provider, server: ModelServer, model: str, said: str
) -> None:
    config: Json = {"model": f"fake/{model}", "template": "Say something."}
    async with open_harness(database) as plain:
        harness = replace(plain, fake_model=behind(provider))
        async with harness.run_engine():
            ended = await harness.wait_until_ended(
                await harness.begin(graph(node(kind="prompt", config=config))), RunStatus.FAILED
            )
    assert ended.error is not None
    assert ended.error.error_class is ErrorClass.INVALID_OUTPUT
    assert ended.error.message.startswith(said)
    assert len(server.calls) == 1
    [usage] = list_usages(ended.steps["a"])
    assert usage.input_tokens == (0 if model == "done-alone" else 7)


async def test_a_model_that_gives_no_text_is_asked_again_for_json(
    database: str, provider: Provider, server: ModelServer
) -> None:
    server.script_behaviours("nothing", "echo")
    async with open_harness(database) as plain:
        harness = replace(plain, fake_model=behind(provider))
        async with harness.run_engine():
            await harness.wait_until_ended(await harness.begin(asks("echo")))
    assert "The model returned no text" in str(server.calls[1].body["messages"])


@pytest.mark.parametrize("model", ["half-pairs", "odd-usage?[]"])
async def test_an_odd_answer_that_is_paid_for_is_kept(
    database: str, provider: Provider, server: ModelServer, model: str
) -> None:
    server.script_behaviours(model)
    config: Json = {"model": f"fake/{model}", "template": "Say something."}
    async with open_harness(database) as plain:
        harness = replace(plain, fake_model=behind(provider))
        async with harness.run_engine():
            ended = await harness.wait_until_ended(await harness.begin(graph(node(kind="prompt", config=config))))
    assert ended.outputs["a"].value
    assert len(server.calls) == 1


async def play(
    database: str, provider: Provider, raw: Json, status: RunStatus = RunStatus.COMPLETED
) -> tuple[Run, list[Fact]]:
    """Run a graph to its end."""
    async with open_harness(database) as plain:
        harness = replace(plain, fake_model=behind(provider))
        async with harness.run_engine():
            run = await harness.begin(raw)
            return await harness.wait_until_ended(run, status), await harness.list_facts(run)


FAILED_GENERATION = msgspec.json.encode(
    {
        "error": {
            "message": "Failed to validate JSON",
            "type": "invalid_request_error",
            "code": "json_validate_failed",
            "failed_generation": "The answer is one",
        }
    }
).decode()


@pytest.mark.parametrize(
    "behaviour",
    [f"body?400 application/json {FAILED_GENERATION}", f"events?event: error\ndata: {FAILED_GENERATION}\n\n"],
)
async def test_an_answer_that_the_server_itself_rejects_is_repaired(
    database: str, provider: Provider, server: ModelServer, behaviour: str
) -> None:
    server.script_behaviours(behaviour, "echo")
    ended, facts = await play(database, provider, asks("echo"))
    assert ended.outputs["a"].value == {"n": 1}
    [rejected] = [fact for fact in facts if isinstance(fact, AnswerRejected)]
    assert rejected.usage is not None
    assert rejected.usage.finish_reason == "json_validate_failed"
    assert "The answer is one" in str(server.calls[1].body["messages"]), "it is shown what it wrote"


async def test_json_that_was_cut_fails_at_once_and_names_the_limit(
    database: str, provider: Provider, server: ModelServer
) -> None:
    server.script_behaviours('cut-text?{"n": 1}')
    raw = asks("echo")
    raw["nodes"][0]["retry"] = {"max_attempts": 5, "retry_on": ["invalid_output"]}
    raw["nodes"][0]["config"]["parameters"] = {"max_output_tokens": 50}
    ended, facts = await play(database, provider, raw, RunStatus.FAILED)
    assert len(server.calls) == 1, "the same question is cut in the same place again"
    assert ended.error is not None
    assert "max_output_tokens (now 50)" in ended.error.message
    [failed] = [fact for fact in facts if isinstance(fact, StepFailed)]
    assert failed.usage is not None
    assert failed.usage.truncated


@pytest.mark.parametrize(
    ("on_truncated", "status"), [(None, RunStatus.COMPLETED), ("keep", RunStatus.COMPLETED), ("fail", RunStatus.FAILED)]
)
async def test_a_cut_text_is_kept_unless_its_node_says_otherwise(
    database: str, provider: Provider, on_truncated: str | None, status: RunStatus
) -> None:
    config: Json = {"model": "fake/truncated", "template": "Hi"}
    raw = graph(
        node(kind="prompt", config=config if on_truncated is None else {**config, "on_truncated": on_truncated})
    )
    ended, _ = await play(database, provider, raw, status)
    usage = ended.steps["a"].usage
    assert usage is not None
    assert usage.truncated
    assert usage.finish_reason in {"length", "max_tokens"}
    if status is RunStatus.FAILED:
        assert ended.error is not None
        assert "max_output_tokens" in ended.error.message


async def test_an_answer_that_may_be_cut_fails_a_node_that_wants_whole_ones(database: str, provider: Provider) -> None:
    config = {"model": "fake/finish?weather", "template": "Hi", "on_truncated": "fail"}
    ended, _ = await play(database, provider, graph(node(kind="prompt", config=config)), RunStatus.FAILED)
    assert ended.error is not None
    assert "weather" in ended.error.message
