"""The OpenAI-compatible provider against a real model server: what it sends, what it makes of answers and of faults."""

import asyncio
from typing import Any

import pytest

from domain.graphs.configs import JsonOutput, ModelParameters
from domain.graphs.graph import ErrorClass
from domain.setting_types import Secret
from engine.egress.allow_list import AllowList
from engine.egress.guard import Guard
from engine.providers.openai_compatible import OpenAiCompatible, OpenAiSettings
from engine.providers.provider import ModelRequest, ModelResponse, ProviderFault
from engine.providers.traits import ServerTraits
from tests.support.model_server.server import ModelServer
from tests.support.waiting import eventually

KEY = "sk-test-0123456789"
LOCAL = Guard(allowed=AllowList("127.0.0.1"))
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def ask(model: str = "echo", **fields: Any) -> ModelRequest:  # noqa: ANN401  # any field of Ask
    given: dict[str, Any] = {"prompt": "Hello there", "idempotency_token": "run-1.a", "timeout_seconds": 5}
    return ModelRequest(model=model, **given | fields)


def ignore(_delta: str) -> None:
    """Ignore the delta."""


async def expect_fault(provider: OpenAiCompatible, asked: ModelRequest) -> ProviderFault:
    with pytest.raises(ProviderFault) as caught:
        await provider.complete(asked, ignore)
    fault = caught.value
    assert KEY not in fault.message
    assert "127.0.0.1" not in fault.message
    assert fault.__cause__ is None
    return fault


async def test_an_answer_is_streamed_and_then_whole(provider: OpenAiCompatible) -> None:
    deltas: list[str] = []
    answer = await provider.complete(ask(), deltas.append)
    assert deltas == ["You ", "said: ", "Hello ", "there "]
    assert answer.text == "".join(deltas)
    assert not answer.truncated


async def test_tokens_and_times_are_measured(provider: OpenAiCompatible) -> None:
    usage = (await provider.complete(ask(), ignore)).usage
    assert (usage.model, usage.input_tokens, usage.output_tokens) == ("openai/echo", 7, 4)
    assert usage.first_token_ms is not None
    assert 0 < usage.first_token_ms <= usage.latency_ms < 5_000


async def test_deltas_come_before_the_answer_is_whole(provider: OpenAiCompatible) -> None:
    deltas: list[str] = []
    call = asyncio.create_task(provider.complete(ask("stall"), deltas.append))
    await eventually(lambda: _holds(deltas == ["Half", " of"]), what="both deltas have come")
    assert not call.done()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_a_cancelled_call_is_aborted_at_the_server(provider: OpenAiCompatible, model_server: ModelServer) -> None:
    call = asyncio.create_task(provider.complete(ask("silent"), ignore))
    await eventually(lambda: _holds(len(model_server.calls) == 1), what="the call has arrived")
    assert not model_server.hung_up.is_set()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await eventually(lambda: _holds(model_server.hung_up.is_set()), what="the server sees the connection end")


async def test_the_request_carries_what_was_asked(provider: OpenAiCompatible, model_server: ModelServer) -> None:
    parameters = ModelParameters(temperature=0.5, top_p=0.9, max_output_tokens=50, stop=("END",), seed=7)
    await provider.complete(ask(system="Be brief", parameters=parameters, traceparent=TRACE), ignore)
    (call,) = model_server.calls
    assert call.idempotency_token == "run-1.a"  # noqa: S105  # no secret
    assert call.headers["traceparent"] == TRACE
    assert call.headers["authorization"] == f"Bearer {KEY}"
    assert call.body == {
        "model": "echo",
        "messages": [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Hello there"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.5,
        "top_p": 0.9,
        "max_completion_tokens": 50,
        "stop": ["END"],
        "seed": 7,
    }


async def test_what_was_not_asked_is_left_to_the_provider(
    provider: OpenAiCompatible, model_server: ModelServer
) -> None:
    await provider.complete(ask(), ignore)
    (call,) = model_server.calls
    assert set(call.body) == {"model", "messages", "stream", "stream_options"}
    assert "traceparent" not in call.headers


async def test_a_forged_traceparent_adds_no_header(provider: OpenAiCompatible, model_server: ModelServer) -> None:
    await provider.complete(ask(traceparent=f"{TRACE}\r\nX-Evil: 1"), ignore)
    assert not {"traceparent", "x-evil"} & set(model_server.calls[0].headers)


async def test_a_schema_goes_along_and_its_json_comes_back(
    provider: OpenAiCompatible, model_server: ModelServer
) -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    answer = await provider.complete(ask(output=JsonOutput(schema=schema)), ignore)
    assert answer.text == '{"ok":true}'
    sent: Any = model_server.calls[0].body["response_format"]
    assert sent["type"] == "json_schema"
    assert sent["json_schema"]["schema"] == schema


async def test_an_older_server_is_told_the_limit_in_its_word(model_server: ModelServer) -> None:
    settings = OpenAiSettings(
        api_key=Secret(KEY),
        base_url=f"{model_server.base_url}/",
        name="local",
        traits=ServerTraits(output_limit="max_tokens"),
        guard=LOCAL,
    )
    provider = OpenAiCompatible(settings)
    answer = await provider.complete(ask(parameters=ModelParameters(max_output_tokens=5)), ignore)
    await provider.close()
    assert model_server.calls[0].body["max_tokens"] == 5
    assert answer.usage.model == "local/echo"


async def test_calls_in_a_row_share_a_connection(provider: OpenAiCompatible, model_server: ModelServer) -> None:
    for _ in range(3):
        await provider.complete(ask(), ignore)
    assert model_server.connections == 1


@pytest.mark.parametrize(
    ("model", "error_class"),
    [
        ("status-400", ErrorClass.BAD_REQUEST),
        ("status-404", ErrorClass.BAD_REQUEST),
        ("status-422", ErrorClass.BAD_REQUEST),
        ("status-400?code=content_filter", ErrorClass.CONTENT_REFUSED),
        ("status-401", ErrorClass.AUTH),
        ("status-403", ErrorClass.AUTH),
        ("status-408", ErrorClass.TIMEOUT),
        ("status-429", ErrorClass.RATE_LIMITED),
        ("status-500", ErrorClass.UNAVAILABLE),
        ("status-502", ErrorClass.UNAVAILABLE),
        ("status-503", ErrorClass.OVERLOADED),
        ("status-504", ErrorClass.TIMEOUT),
        ("status-529", ErrorClass.OVERLOADED),
        ("cut", ErrorClass.UNAVAILABLE),
        ("end-early", ErrorClass.UNAVAILABLE),
        ("broken-json", ErrorClass.UNAVAILABLE),
        ("page", ErrorClass.UNAVAILABLE),
        ("compressed", ErrorClass.UNAVAILABLE),
        ("not-http", ErrorClass.UNAVAILABLE),
        ("error-in-stream", ErrorClass.OVERLOADED),
        ("filtered", ErrorClass.CONTENT_REFUSED),
        ("refuses", ErrorClass.CONTENT_REFUSED),
        ("giant-line", ErrorClass.INVALID_OUTPUT),
        ("giant-answer", ErrorClass.INVALID_OUTPUT),
        ("giant-error", ErrorClass.BAD_REQUEST),
    ],
)
async def test_every_fault_has_its_class(provider: OpenAiCompatible, model: str, error_class: ErrorClass) -> None:
    fault = await expect_fault(provider, ask(model))
    assert fault.error_class is error_class, fault.message
    assert len(fault.message) < 500


@pytest.mark.parametrize("model", ["silent", "stall", "drip"])
async def test_a_server_that_takes_its_time_is_left_when_the_time_is_over(
    provider: OpenAiCompatible, model_server: ModelServer, model: str
) -> None:
    fault = await expect_fault(provider, ask(model, timeout_seconds=0.15))
    assert fault.error_class is ErrorClass.TIMEOUT
    await eventually(lambda: _holds(model_server.hung_up.is_set()), what="the server sees the connection end")


@pytest.mark.parametrize("status", [429, 503])
async def test_the_provider_says_when_to_come_back(provider: OpenAiCompatible, status: int) -> None:
    fault = await expect_fault(provider, ask(f"status-{status}?retry-after=7"))
    assert fault.retry_after_seconds == 7


async def test_a_redirect_is_not_followed(provider: OpenAiCompatible, model_server: ModelServer) -> None:
    fault = await expect_fault(provider, ask("redirect"))
    assert fault.error_class is ErrorClass.BAD_REQUEST
    assert len(model_server.calls) == 1


async def test_a_bad_request_says_what_was_wrong_but_never_the_key(provider: OpenAiCompatible) -> None:
    fault = await expect_fault(provider, ask(f"status-400?message=the+key+{KEY}+cannot+use+this+model"))
    assert fault.message.endswith("the key … cannot use this model")


async def test_a_refused_key_is_not_quoted(provider: OpenAiCompatible) -> None:
    fault = await expect_fault(provider, ask("status-401?message=Incorrect+key:+sk-t***6789"))
    assert "sk-t" not in fault.message


async def test_an_answer_cut_by_its_limit_says_so(provider: OpenAiCompatible) -> None:
    answer = await provider.complete(ask("truncated"), ignore)
    assert (answer.text, answer.truncated) == ("Half of", True)


async def test_a_refusal_still_counts_its_tokens(provider: OpenAiCompatible) -> None:
    fault = await expect_fault(provider, ask("filtered"))
    assert fault.usage is not None
    assert (fault.usage.input_tokens, fault.usage.output_tokens) == (7, 2)


async def test_a_whole_answer_outlives_its_connection(provider: OpenAiCompatible) -> None:
    assert (await provider.complete(ask("cut-after-finish"), ignore)).text == "Half of"


async def test_a_server_that_does_not_count_is_not_guessed_at(provider: OpenAiCompatible) -> None:
    usage = (await provider.complete(ask("no-usage"), ignore)).usage
    assert (usage.input_tokens, usage.output_tokens) == (0, 0)


async def test_odd_bytes_become_text_that_can_be_stored(provider: OpenAiCompatible) -> None:
    deltas: list[str] = []
    answer = await provider.complete(ask("odd-bytes"), deltas.append)
    assert answer.text == "ab\N{REPLACEMENT CHARACTER}"
    assert "".join(deltas) == answer.text


async def test_half_a_surrogate_pair_is_refused_before_it_is_sent(
    provider: OpenAiCompatible, model_server: ModelServer
) -> None:
    fault = await expect_fault(provider, ask(prompt="a\ud800b"))
    assert fault.error_class is ErrorClass.BAD_REQUEST
    assert model_server.calls == []


async def test_a_provider_that_is_not_there_is_unavailable() -> None:
    with ModelServer() as gone:
        pass
    provider = OpenAiCompatible(OpenAiSettings(api_key=Secret(KEY), base_url=gone.base_url, guard=LOCAL))
    fault = await expect_fault(provider, ask())
    await provider.close()
    assert fault.error_class is ErrorClass.UNAVAILABLE


async def test_a_call_that_finds_no_free_connection_is_overload(model_server: ModelServer) -> None:
    settings = OpenAiSettings(
        api_key=Secret(KEY), base_url=model_server.base_url, connections_max=1, connect_seconds_max=1, guard=LOCAL
    )
    provider = OpenAiCompatible(settings)
    first = asyncio.create_task(provider.complete(ask("silent"), ignore))
    await eventually(lambda: _holds(len(model_server.calls) == 1), what="the first call has arrived")
    fault = await expect_fault(provider, ask())
    first.cancel()
    await asyncio.wait([first])
    await provider.close()
    assert fault.error_class is ErrorClass.OVERLOADED


async def test_many_calls_at_once_are_kept_apart(provider: OpenAiCompatible) -> None:
    async def say(number: int) -> ModelResponse:
        return await provider.complete(ask(prompt=f"number {number}"), ignore)

    answers = await asyncio.gather(*(say(number) for number in range(50)))
    assert [answer.text for answer in answers] == [f"You said: number {number} " for number in range(50)]


@pytest.mark.parametrize("url", ["ftp://host/v1", "http://me:secret@host/v1", "host/v1", "https://", "http://[::1/v1"])
def test_an_address_that_cannot_be_used_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="base URL") as caught:
        OpenAiCompatible(OpenAiSettings(api_key=Secret(KEY), base_url=url))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("key", ["two words", "line\nfeed", "schlüssel"])
def test_a_key_that_fits_no_header_is_refused_without_repeating_it(key: str) -> None:
    with pytest.raises(ValueError, match="key") as caught:
        OpenAiCompatible(OpenAiSettings(api_key=Secret(key)))
    assert key not in str(caught.value)


def test_settings_do_not_show_their_key() -> None:
    assert KEY not in repr(OpenAiSettings(api_key=Secret(KEY)))


async def _holds(condition: bool) -> bool:  # noqa: FBT001  # `eventually` takes an awaitable condition
    return condition
