"""The scripted provider: it says what it is, repeats itself exactly, and makes JSON that meets a schema."""

from typing import Any

import msgspec
import pytest

from domain.graphs.configs import JsonOutput, ModelParameters
from domain.graphs.graph import ErrorClass
from domain.graphs.validation.json_schema import compile_schema
from engine.providers.provider import ModelRequest, ModelResponse, ProviderFault
from engine.providers.scripted import Scripted

Json = dict[str, Any]
TEXT: Json = {"type": "string"}
REFERRING: Json = {
    "type": "object",
    "properties": {"first": {"$ref": "#/$defs/a~1b"}, "second": {"$ref": "#/properties/first"}},
    "$defs": {"a/b": {"type": "object", "properties": {"name": TEXT}, "required": ["name"]}},
    "required": ["second"],
}


def ask(**fields: Any) -> ModelRequest:  # noqa: ANN401  # any field of Ask
    given: Json = {"model": "openai/gpt-5", "prompt": "Write a  poem", "idempotency_token": "t", "timeout_seconds": 5}
    return ModelRequest(**given | fields)


async def answer_to(asked: ModelRequest) -> tuple[ModelResponse, list[str]]:
    deltas: list[str] = []
    return await Scripted().complete(asked, deltas.append), deltas


async def complete_json(schema: Json) -> Any:  # noqa: ANN401  # any JSON value
    answer, deltas = await answer_to(ask(output=JsonOutput(schema=schema)))
    assert "".join(deltas) == answer.text
    return msgspec.json.decode(answer.text)


async def test_its_first_word_says_what_it_is() -> None:
    answer, _ = await answer_to(ask())
    assert answer.text.startswith("[scripted] No model was asked.")
    assert answer.text.endswith("Write a poem")
    assert answer.usage.model == "scripted/openai/gpt-5"


async def test_the_same_ask_gets_the_same_answer_whatever_its_token() -> None:
    assert await answer_to(ask()) == await answer_to(ask(idempotency_token="another"))  # noqa: S106  # no secret


@pytest.mark.parametrize(
    "other",
    [{"prompt": "Write an ode"}, {"system": "In Latin"}, {"model": "x/y"}, {"parameters": ModelParameters(seed=1)}],
)
async def test_another_ask_gets_another_answer(other: Json) -> None:
    assert (await answer_to(ask()))[0].text != (await answer_to(ask(**other)))[0].text


async def test_it_streams_its_answer_in_pieces_of_some_words_and_counts_words() -> None:
    answer, deltas = await answer_to(ask(system="Be brief"))
    assert "".join(deltas) == answer.text
    assert len(deltas) > 1
    assert all(len(delta.split()) <= 8 for delta in deltas)
    assert len(answer.text.split()) == answer.usage.output_tokens
    assert answer.usage.input_tokens == 5
    assert answer.usage.cost_usd == "0"


async def test_it_keeps_to_the_limit_of_the_output() -> None:
    answer, _ = await answer_to(ask(parameters=ModelParameters(max_output_tokens=3)))
    assert (answer.text, answer.truncated) == ("[scripted] No model", True)


async def test_a_long_prompt_is_quoted_only_in_part_and_without_nul() -> None:
    answer, _ = await answer_to(ask(prompt="word\0 " * 10_000))
    assert len(answer.text) < 500
    assert "\0" not in answer.text


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object", "properties": {"title": TEXT, "tags": {"type": "array", "items": TEXT}}},
        {"type": "object", "required": ["unsaid"]},
        {"type": "object", "properties": {"a": TEXT}, "required": ["a"], "additionalProperties": False},
        {"enum": ["warm", "cold"]},
        {"const": {"a": 1}},
        {"type": "boolean"},
        {"type": "null"},
        {"type": ["null", "string"]},
        {"type": "string", "minLength": 40},
        {"type": "string", "maxLength": 4},
        {"type": "string", "format": "date-time"},
        {"type": "integer"},
        {"type": "integer", "minimum": 5, "maximum": 5},
        {"type": "integer", "exclusiveMinimum": 5, "exclusiveMaximum": 7},
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.5},
        {"type": "number", "minimum": -3, "maximum": -2},
        {"type": "integer", "minimum": 10, "multipleOf": 7},
        {"type": "array", "items": TEXT, "minItems": 5, "uniqueItems": True},
        {"type": "array", "items": {"type": "integer"}, "maxItems": 1},
        {"type": "array", "prefixItems": [TEXT, {"type": "integer"}], "items": False},
        {"anyOf": [{"type": "string", "pattern": "^x$"}, {"type": "integer"}]},
        {"type": "object", "properties": {"optional": {"type": "string", "pattern": "^x$"}}},
        REFERRING,
    ],
)
async def test_it_makes_json_that_meets_the_schema(schema: Json) -> None:
    assert compile_schema(schema).problems(await complete_json(schema)) == ()


async def test_texts_in_json_say_what_they_are_and_what_for() -> None:
    schema: Json = {"type": "object", "properties": {"title": TEXT, "lines": {"type": "array", "items": TEXT}}}
    assert await complete_json(schema) == {
        "title": "[scripted] title",
        "lines": ["[scripted] lines 1", "[scripted] lines 2"],
    }


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "^[A-Z]{3}$"},
        {"type": "object", "properties": {"a": {"type": "string", "pattern": "^x$"}}, "required": ["a"]},
        {"type": "array", "minItems": 1_000_000},
        {"type": "string", "minLength": 1_000_000},
        {"type": "integer", "minimum": 3, "maximum": 2},
        {"not": {}},
        {"$ref": "#/$defs/nothing"},
        {"$ref": "#"},
        {"type": "nonsense"},
        {"type": "object", "minProperties": 3},
    ],
)
async def test_what_it_cannot_make_it_refuses_plainly(schema: Json) -> None:
    with pytest.raises(ProviderFault) as caught:
        await answer_to(ask(output=JsonOutput(schema=schema)))
    assert caught.value.error_class is ErrorClass.BAD_REQUEST
    assert "scripted provider cannot generate a value" in caught.value.message


async def test_a_schema_that_multiplies_is_given_up_soon() -> None:
    schema: Json = TEXT
    for _ in range(5):
        schema = {"type": "array", "items": schema, "minItems": 100}
    with pytest.raises(ProviderFault, match="too many"):
        await answer_to(ask(output=JsonOutput(schema=schema)))
