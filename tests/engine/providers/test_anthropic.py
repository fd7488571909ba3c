"""The Anthropic provider against a real model server: what it sends, and what it makes of answers and of faults."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest

from domain.graphs.configs import JsonOutput, ModelParameters
from domain.graphs.graph import ErrorClass
from domain.runs.facts import Usage
from domain.setting_types import Secret
from engine.providers.anthropic import Anthropic, AnthropicSettings
from engine.providers.anthropic_wire import AnthropicWire
from engine.providers.provider import ModelRequest, ProviderFault, Repair
from tests.engine.providers.test_openai_compatible import LOCAL
from tests.support.model_server.server import ModelServer
from tests.support.waiting import eventually

KEY = "sk-ant-test-0123456789"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def ask(model: str = "echo", **fields: Any) -> ModelRequest:  # noqa: ANN401  # any field of Ask
    given: dict[str, Any] = {"prompt": "Hello there", "idempotency_token": "run-1.a", "timeout_seconds": 10}
    return ModelRequest(model=model, **given | fields)


def ignore(_delta: str) -> None:
    """Ignore the delta."""


@pytest.fixture
async def anthropic(model_server: ModelServer) -> AsyncGenerator[Anthropic]:
    provider = Anthropic(
        AnthropicSettings(
            api_key=Secret(KEY),
            base_url=model_server.base_url.removesuffix("/v1"),
            output_tokens_default=99,
            guard=LOCAL,
        )
    )
    yield provider
    await provider.close()


async def expect_fault(provider: Anthropic, asked: ModelRequest) -> ProviderFault:
    with pytest.raises(ProviderFault) as caught:
        await provider.complete(asked, ignore)
    assert KEY not in caught.value.message
    assert "127.0.0.1" not in caught.value.message
    assert caught.value.__cause__ is None
    return caught.value


async def test_an_answer_is_streamed_and_then_whole(anthropic: Anthropic) -> None:
    deltas: list[str] = []
    answer = await anthropic.complete(ask(), deltas.append)
    assert deltas == ["You ", "said: ", "Hello ", "there "]
    assert answer.text == "".join(deltas)
    assert not answer.truncated


async def test_tokens_are_counted_with_those_that_came_from_a_cache(anthropic: Anthropic) -> None:
    usage = (await anthropic.complete(ask(), ignore)).usage
    assert (usage.model, usage.input_tokens, usage.output_tokens) == ("anthropic/echo", 7, 4)
    assert usage.first_token_ms is not None
    assert 0 < usage.first_token_ms <= usage.latency_ms


async def test_the_request_carries_what_was_asked(anthropic: Anthropic, model_server: ModelServer) -> None:
    parameters = ModelParameters(temperature=0.5, top_p=0.9, max_output_tokens=50, stop=("END",), seed=7)
    await anthropic.complete(ask(system="Be brief", parameters=parameters, traceparent=TRACE), ignore)
    (call,) = model_server.calls
    assert (call.protocol, call.path) == ("anthropic", "/v1/messages")
    assert call.idempotency_token == "run-1.a"  # noqa: S105  # no secret
    assert call.headers["traceparent"] == TRACE
    assert (call.headers["x-api-key"], call.headers["anthropic-version"]) == (KEY, "2023-06-01")
    assert call.body == {
        "model": "echo",
        "max_tokens": 50,
        "system": "Be brief",
        "messages": [{"role": "user", "content": "Hello there"}],
        "stream": True,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop_sequences": ["END"],
    }


async def test_what_was_not_asked_is_left_out_but_for_the_limit(
    anthropic: Anthropic, model_server: ModelServer
) -> None:
    await anthropic.complete(ask(), ignore)
    (call,) = model_server.calls
    assert set(call.body) == {"model", "max_tokens", "messages", "stream"}
    assert call.body["max_tokens"] == 99


async def test_json_is_asked_for_by_its_schema(anthropic: Anthropic, model_server: ModelServer) -> None:
    answer = await anthropic.complete(ask(system="Be brief", output=JsonOutput(schema=SCHEMA)), ignore)
    assert msgspec.json.decode(answer.text) == {"n": 1}
    system = str(model_server.calls[0].body["system"])
    assert system.startswith("Be brief\n\n")
    assert msgspec.json.decode(system.rpartition("\n")[2]) == SCHEMA


async def test_a_repair_shows_the_model_its_answer(anthropic: Anthropic, model_server: ModelServer) -> None:
    for answer, shown in (("one", "one"), (" ", "(no answer)")):
        await anthropic.complete(ask(repair=Repair(answer=answer, said="Mend it")), ignore)
        assert model_server.calls[-1].body["messages"] == [
            {"role": "user", "content": "Hello there"},
            {"role": "assistant", "content": shown},
            {"role": "user", "content": "Mend it"},
        ]


@pytest.mark.parametrize(
    ("behaviour", "error_class"),
    [
        ("status-400?type=invalid_request_error", ErrorClass.BAD_REQUEST),
        ("status-401?type=authentication_error", ErrorClass.AUTH),
        ("status-403?type=permission_error", ErrorClass.AUTH),
        ("status-404?type=not_found_error", ErrorClass.BAD_REQUEST),
        ("status-413?type=request_too_large", ErrorClass.BAD_REQUEST),
        ("status-429?type=rate_limit_error", ErrorClass.RATE_LIMITED),
        ("status-500?type=api_error", ErrorClass.UNAVAILABLE),
        ("status-529?type=overloaded_error", ErrorClass.OVERLOADED),
        ("error-in-stream", ErrorClass.OVERLOADED),
        ("broken-json", ErrorClass.UNAVAILABLE),
        ("cut", ErrorClass.UNAVAILABLE),
        ("end-early", ErrorClass.UNAVAILABLE),
        ("page", ErrorClass.UNAVAILABLE),
        ("filtered", ErrorClass.CONTENT_REFUSED),
    ],
)
async def test_faults_are_classified(anthropic: Anthropic, behaviour: str, error_class: ErrorClass) -> None:
    assert (await expect_fault(anthropic, ask(behaviour))).error_class is error_class


async def test_a_limit_of_rate_says_when_to_come_back(anthropic: Anthropic) -> None:
    fault = await expect_fault(anthropic, ask("status-429?type=rate_limit_error&retry-after=7"))
    assert fault.retry_after_seconds == 7


async def test_a_silent_server_is_out_of_time(anthropic: Anthropic) -> None:
    assert (await expect_fault(anthropic, ask("silent", timeout_seconds=0.1))).error_class is ErrorClass.TIMEOUT


@pytest.mark.parametrize("behaviour", ["cut", "broken-json", "error-in-stream", "end-early"])
async def test_the_input_of_a_call_that_broke_off_is_counted(anthropic: Anthropic, behaviour: str) -> None:
    fault = await expect_fault(anthropic, ask(behaviour))
    assert fault.usage is not None
    assert fault.usage.input_tokens == 7


async def test_a_refusal_counts_all_its_tokens(anthropic: Anthropic) -> None:
    fault = await expect_fault(anthropic, ask("filtered"))
    assert fault.usage is not None
    assert (fault.usage.input_tokens, fault.usage.output_tokens) == (7, 2)


async def test_an_answer_cut_by_its_limit_says_so(anthropic: Anthropic) -> None:
    answer = await anthropic.complete(ask("truncated"), ignore)
    assert (answer.text, answer.truncated) == ("Half of", True)


async def test_a_whole_answer_outlives_its_connection(anthropic: Anthropic) -> None:
    assert (await anthropic.complete(ask("cut-after-finish"), ignore)).text == "Half of"


async def test_a_connection_is_used_again(anthropic: Anthropic, model_server: ModelServer) -> None:
    for _ in range(3):
        await anthropic.complete(ask(), ignore)
    assert model_server.connections == 1


async def test_a_cancelled_call_tells_what_was_counted(anthropic: Anthropic) -> None:
    deltas: list[str] = []
    counted: list[Usage] = []
    call = asyncio.create_task(anthropic.complete(ask("stall", aborted=counted.append), deltas.append))

    async def has_begun() -> bool:
        return len(deltas) > 0

    await eventually(has_begun, what="the answer has begun")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert [usage.input_tokens for usage in counted] == [7]


async def test_a_cancelled_call_is_aborted_at_the_server(anthropic: Anthropic, model_server: ModelServer) -> None:
    call = asyncio.create_task(anthropic.complete(ask("silent"), ignore))

    async def has_arrived() -> bool:
        return len(model_server.calls) == 1

    async def hung_up() -> bool:
        return model_server.hung_up.is_set()

    await eventually(has_arrived, what="the call has arrived")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await eventually(hung_up, what="the server sees the connection end")


@pytest.mark.parametrize("data", ["", "[]", '{"type": 1}', "{" * 100_000, '{"delta": {}}', "\ud800"])
def test_what_is_not_of_the_protocol_is_no_piece(data: str) -> None:
    assert AnthropicWire(1).piece(data) is None
