"""Repairs over the wire: models that do not write the JSON that they were asked for, in both protocols."""

from collections.abc import AsyncGenerator, Generator
from dataclasses import replace
from typing import Any, cast

import pytest

from domain.graphs.graph import ErrorClass
from domain.runs.facts import AnswerRejected, StepFailed
from domain.runs.run import RunStatus
from domain.runs.steps import list_usages
from engine.providers.provider import Provider
from tests.engine.providers.conftest import speaking
from tests.support.engine.harness import FakeModel, check_history, site
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
    return graph(node(kind="prompt", config={"model": f"gate/{model}", "template": "How many?", "output": output}))


def behind(provider: Provider) -> FakeModel:
    """Return a real provider typed as the fake model that it replaces."""
    return cast("FakeModel", provider)


async def test_a_model_that_fails_at_first_is_told_what_was_wrong_and_mends_it(
    database: str, provider: Provider, server: ModelServer
) -> None:
    server.script_behaviours("truncated", "echo")
    async with site(database) as plain:
        here = replace(plain, gate=behind(provider))
        async with here.engaged():
            run = await here.begin(asks("echo"))
            ended = await here.ended(run)
            facts = await here.of(run)
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
    async with site(database) as plain:
        here = replace(plain, gate=behind(provider))
        async with here.engaged():
            run = await here.begin(asks("truncated", repairs=3))
            ended = await here.ended(run, RunStatus.FAILED)
            facts = await here.of(run)
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
    async with site(database) as plain:
        here = replace(plain, gate=behind(provider))
        async with here.engaged():
            run = await here.begin(asks(model))
            await here.ended(run, RunStatus.FAILED)
            facts = await here.of(run)
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
    config: Json = {"model": f"gate/{model}", "template": "Say something."}
    async with site(database) as plain:
        here = replace(plain, gate=behind(provider))
        async with here.engaged():
            ended = await here.ended(await here.begin(graph(node(kind="prompt", config=config))), RunStatus.FAILED)
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
    async with site(database) as plain:
        here = replace(plain, gate=behind(provider))
        async with here.engaged():
            await here.ended(await here.begin(asks("echo")))
    assert "The model returned no text" in str(server.calls[1].body["messages"])


@pytest.mark.parametrize("model", ["half-pairs", "odd-usage?[]"])
async def test_an_odd_answer_that_is_paid_for_is_kept(
    database: str, provider: Provider, server: ModelServer, model: str
) -> None:
    server.script_behaviours(model)
    config: Json = {"model": f"gate/{model}", "template": "Say something."}
    async with site(database) as plain:
        here = replace(plain, gate=behind(provider))
        async with here.engaged():
            ended = await here.ended(await here.begin(graph(node(kind="prompt", config=config))))
    assert ended.outputs["a"].value
    assert len(server.calls) == 1
