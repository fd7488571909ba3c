"""Named providers: each server is asked in the way that its entry says, and is not asked twice for what it rejects."""

from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog

from callsheet.settings.load import Settings, SettingsUnusable, load_settings
from callsheet.wiring.models import list_model_providers, load_model_prices
from domain.graphs.configs import JsonOutput, ModelParameters
from domain.graphs.graph import ErrorClass
from engine.providers.answers.error_details import ErrorDetails
from engine.providers.choice import Providers, build_providers
from engine.providers.provider import ModelRequest, ModelResponse, ProviderFault
from engine.providers.traits import ServerTraits, find_change
from tests.support.model_server.server import ModelServer

KEY = "sk-test-0123456789"
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
Build = Callable[..., Providers]


def read_settings(entries: object, **variables: str) -> Settings:
    table = msgspec.json.encode(entries).decode()
    return load_settings({"CALLSHEET_MODEL_PROVIDERS": table, "CALLSHEET_OUTGOING_ALLOWED": "127.0.0.1", **variables})


@pytest.fixture
async def build(model_server: ModelServer) -> AsyncGenerator[Build]:
    """Build providers from settings; each entry is completed by the protocol and the model server's address."""
    built: list[Providers] = []

    def create(**entries: dict[str, Any]) -> Providers:
        base = {"protocol": "chat_completions", "base_url": model_server.base_url, "key": KEY}
        settings = read_settings({name: {**base, **entry} for name, entry in entries.items()})
        built.append(build_providers(list_model_providers(settings), settings.model))
        return built[-1]

    yield create
    for providers in built:
        await providers.close()


async def ask(providers: Providers, name: str, **fields: Any) -> ModelResponse:  # noqa: ANN401  # any field
    provider, model = providers.choose(name)
    given: dict[str, Any] = {"prompt": "Hi", "idempotency_token": "t", "timeout_seconds": 10, **fields}
    return await provider.complete(ModelRequest(model=model, **given), lambda _text: None)


LIMITED = ModelParameters(max_output_tokens=5)


async def test_many_providers_stand_side_by_side(build: Build, model_server: ModelServer) -> None:
    providers = build(
        mistral={"output_limit": "max_tokens", "stream_options": False},
        local={"output_limit": "none", "stream": False, "key": "local-key-9876543210"},
        other={"protocol": "messages", "output_tokens_default": 77},
    )
    for name in ("mistral/echo", "local/echo", "other/echo"):
        answer = await ask(providers, name, parameters=LIMITED)
        assert answer.text == "You said: Hi "
        assert answer.usage.model == name
        assert answer.usage.input_tokens == 7
    mistral, local, other = model_server.calls
    assert mistral.body["max_tokens"] == 5
    assert "stream_options" not in mistral.body
    assert not {"max_tokens", "max_completion_tokens", "stream", "stream_options"} & set(local.body)
    assert local.headers["authorization"] == "Bearer local-key-9876543210"
    assert local.headers["accept"] == "application/json"
    assert (other.protocol, other.headers["x-api-key"]) == ("anthropic", KEY)


async def test_a_server_without_keys_gets_none(build: Build, model_server: ModelServer) -> None:
    providers = build(local={"key": None})
    await ask(providers, "local/echo")
    assert "authorization" not in model_server.calls[0].headers


async def test_query_parameters_headers_and_the_name_of_the_key_are_those_of_the_entry(
    build: Build, model_server: ModelServer
) -> None:
    providers = build(
        azure={
            "base_url": f"{model_server.base_url}/?api-version=2024-10-21&x=a%20b",
            "key_header": "api-key",
            "headers": {"X-Title": "Studio", "traceparent": "none"},
        },
        whole={"base_url": f"{model_server.base_url}/chat/completions"},
        messages={"protocol": "messages", "base_url": f"{model_server.base_url}/"},
    )
    for name in ("azure/echo", "whole/echo", "messages/echo"):
        await ask(providers, name)
    azure, whole, messages = model_server.calls
    assert azure.path == "/v1/chat/completions?api-version=2024-10-21&x=a%20b"
    assert azure.headers["api-key"] == KEY
    assert "authorization" not in azure.headers
    assert azure.headers["x-title"] == "Studio"
    assert (whole.path, messages.path) == ("/v1/chat/completions", "/v1/messages")


@pytest.mark.parametrize("mode", ["json_schema_strict", "json_schema", "json_object", "instruction"])
async def test_json_is_asked_for_in_the_way_of_the_server(build: Build, model_server: ModelServer, mode: str) -> None:
    answer = await ask(build(a={"json_mode": mode}), "a/echo", output=JsonOutput(schema=SCHEMA), system="Be brief")
    assert msgspec.json.decode(answer.text) == {"n": 1}
    body: Any = model_server.calls[0].body
    sent, system = body.get("response_format"), body["messages"][0]["content"]
    match mode:
        case "json_schema_strict":
            assert sent["json_schema"] == {"name": "answer", "schema": SCHEMA, "strict": True}
        case "json_schema":
            assert sent["json_schema"] == {"name": "answer", "schema": SCHEMA}
        case "json_object":
            assert sent == {"type": "json_object"}
        case _:
            assert sent is None
    assert ("JSON Schema" in system) is (mode in {"json_object", "instruction"})


@pytest.mark.parametrize(
    ("rejected", "fields", "left"),
    [
        ("stream_options", {}, {"stream"}),
        ("stream_options,stream", {}, set[str]()),
        ("stream", {}, set[str]()),
        ("max_completion_tokens", {"parameters": LIMITED}, {"stream", "stream_options", "max_tokens"}),
        ("json_schema", {"output": JsonOutput(schema=SCHEMA)}, {"stream", "stream_options", "response_format"}),
        ("response_format", {"output": JsonOutput(schema=SCHEMA)}, {"stream", "stream_options"}),
        ("stream_options,stream,response_format,x", {"output": JsonOutput(schema=SCHEMA)}, set[str]()),
    ],
)
async def test_what_a_server_rejects_and_nobody_asked_for_is_left_out_once_and_remembered(
    build: Build, model_server: ModelServer, rejected: str, fields: dict[str, Any], left: set[str]
) -> None:
    providers = build(a={})
    with structlog.testing.capture_logs() as logs:
        await ask(providers, f"a/rejects?{rejected}", **fields)
    count = len(model_server.calls)
    assert count > 1
    names = [line["parameter"] for line in logs if line["event"] == "model.parameter_left_out"]
    assert len(names) == count - 1
    assert len({call.idempotency_token for call in model_server.calls}) == count
    await ask(providers, f"a/rejects?{rejected}", **fields)
    assert len(model_server.calls) == count + 1, "it is remembered"
    assert set(model_server.calls[-1].body) == {"model", "messages", *left}
    await ask(providers, "a/echo")
    assert "stream_options" in model_server.calls[-1].body, "another model of the server may know it"


@pytest.mark.parametrize("parameter", ["temperature", "seed", "top_p"])
async def test_what_was_asked_for_is_never_left_out(build: Build, model_server: ModelServer, parameter: str) -> None:
    asked = ModelParameters(temperature=0.5, seed=7, top_p=0.5)
    with pytest.raises(ProviderFault, match=parameter) as caught:
        await ask(build(a={}), f"a/rejects?{parameter}", parameters=asked)
    assert caught.value.error_class is ErrorClass.BAD_REQUEST
    assert len(model_server.calls) == 1


async def test_a_limit_that_is_too_large_is_no_unknown_parameter(build: Build, model_server: ModelServer) -> None:
    model_server.script_behaviours("status-400?message=max_completion_tokens+is+too+large:+5")
    with pytest.raises(ProviderFault, match="too large"):
        await ask(build(a={}), "a/echo", parameters=LIMITED)
    assert len(model_server.calls) == 1


async def test_two_names_for_the_limit_that_are_both_rejected_end_the_call(
    build: Build, model_server: ModelServer
) -> None:
    rejected = "a/rejects?max_tokens,max_completion_tokens"
    with pytest.raises(ProviderFault):
        await ask(build(a={}), rejected, parameters=LIMITED)
    assert len(model_server.calls) <= 7


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ('Unknown name "stream_options": Cannot find field.', "stream_options"),
        ("body.stream_options: Extra inputs are not permitted", "stream_options"),
        ("'response_format' of type 'json_schema' is not supported with this model", "response_format"),
        ("Invalid schema for response_format 'answer': 'required' is required", "response_format"),
        ("This model does not support structured outputs", "response_format"),
        ("Unsupported parameter: 'max_completion_tokens'. Use 'max_tokens' instead", "max_completion_tokens"),
        ("Streaming is not supported for this model", "stream"),
        ("Upstream failed", None),
        ("messages: text is too long", None),
        (None, None),
    ],
)
def test_a_parameter_is_found_by_its_name_in_the_message(message: str | None, expected: str | None) -> None:
    request = ModelRequest(
        model="m",
        prompt="Hi",
        idempotency_token="t",  # noqa: S106  # no secret
        timeout_seconds=1,
        parameters=LIMITED,
        output=JsonOutput(schema=SCHEMA),
    )
    change = find_change(ServerTraits(), ErrorDetails(message=message), request)
    assert (change and change.parameter) == expected


async def test_a_server_that_opens_its_reasoning_itself_can_say_so(build: Build) -> None:
    providers = build(a={"reasoning": "opened"}, b={"reasoning": "off"})
    answer = await ask(providers, "a/text?Hm.</think>Yes")
    assert (answer.text, answer.reasoning) == ("Yes", "Hm.")
    assert (await ask(providers, "b/text?<think>Hm.</think>Yes")).text == "<think>Hm.</think>Yes"


async def test_a_word_of_the_entry_has_the_meaning_that_it_gives(build: Build) -> None:
    providers = build(a={"finish_reasons": {"Weather-Fine": "complete", "storm": "failed"}})
    assert not (await ask(providers, "a/finish?weather_fine")).usage.finish_unknown
    with pytest.raises(ProviderFault, match="storm"):
        await ask(providers, "a/finish?storm")


async def test_no_value_of_the_entry_is_quoted(build: Build, model_server: ModelServer) -> None:
    url = f"{model_server.base_url}?sig=signature-0123456789"
    providers = build(a={"base_url": url, "headers": {"X-Secret": "header-0123456789"}})
    said = f"not+{KEY},+signature-0123456789,+header-0123456789"
    with pytest.raises(ProviderFault) as caught:
        await ask(providers, f"a/status-403?message={said}")
    assert "0123456789" not in caught.value.message


def test_an_entry_replaces_the_provider_of_its_name_and_leaves_the_other(tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text(f"{KEY}\n")
    entry = {"protocol": "chat_completions", "base_url": "https://m.example", "key_file": str(key_file)}
    settings = read_settings(
        {"openai": {**entry, "default_model": "own"}},
        OPENAI_API_KEY="a",
        ANTHROPIC_API_KEY="b",
        CALLSHEET_MODEL_PRICES='{"openai/own": {"input_usd": "1", "output_usd": "2"}}',
    )
    found = {provider.name: provider for provider in list_model_providers(settings)}
    assert set(found) == {"openai", "anthropic"}
    assert found["openai"].base_url == "https://m.example"
    assert found["openai"].api_key is not None
    assert found["openai"].api_key.reveal() == KEY
    assert load_model_prices(settings)["openai/default"].model == "openai/own"
    assert KEY not in repr(settings)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"a": {"protocol": "smoke", "base_url": "https://m"}}, "smoke"),
        ({"a": {"protocol": "messages", "base_url": "https://m", "keys": 1}}, "keys"),
        ({"A b": {"protocol": "messages", "base_url": "https://m"}}, "at `key`"),
        ({"scripted": {"protocol": "messages", "base_url": "https://m"}}, "reserved"),
        ({"a": {"protocol": "messages", "base_url": "https://m", "key_file": "/nowhere"}}, "a: the key_file /nowhere"),
        ({"a": {"protocol": "messages", "base_url": "https://m", "key": "x y"}}, "a: the key must be"),
        ({"a": {"protocol": "messages", "base_url": "ftp://m"}}, "base_url"),
        ({"a": {"protocol": "messages", "base_url": "https://me:secret@m"}}, "base_url"),
        ({"a": {"protocol": "messages", "base_url": "https://m", "headers": {"Host": "x"}}}, "Host"),
    ],
)
def test_a_table_that_cannot_be_used_stops_the_start_and_says_why(entries: object, said: str) -> None:
    with pytest.raises(SettingsUnusable, match="CALLSHEET_MODEL_PROVIDERS") as caught:
        read_settings(entries)
    assert said in str(caught.value)
    assert "x y" not in str(caught.value)
