"""JSON Schemas of forms and model output: what is refused, what is found, and what a hostile one may cost."""

from typing import Any

import pytest

from domain.expressions.common import ExpressionFault
from domain.graphs.validation.json_schema import compile_schema

FORM = {
    "type": "object",
    "required": ["why"],
    "properties": {"why": {"$ref": "#/$defs/line"}, "score/10": {"type": "integer"}},
    "$defs": {"line": {"type": "string", "pattern": "^[a-z ]+$"}},
}


def doubling(keyword: str, levels: int) -> dict[str, Any]:
    definitions = {f"d{n}": {keyword: [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)}
    return {"$ref": "#/$defs/d0", "$defs": {**definitions, f"d{levels}": {"type": "string"}}}


def test_a_value_that_meets_its_schema_has_no_problems() -> None:
    assert compile_schema(FORM).problems({"why": "fine"}) == ()


def test_all_problems_of_a_value_are_given_with_pointers() -> None:
    found = compile_schema(FORM).problems({"why": "NO", "score/10": "x"})
    assert sorted(problem.pointer for problem in found) == ["/score~110", "/why"]


def test_the_problems_of_one_value_are_bounded() -> None:
    schema = compile_schema({"items": {"type": "string"}})
    assert len(schema.problems([1] * 1_000)) == 50
    assert len(schema.problems([1] * 90_000)) == 1


def test_all_problems_are_told_only_where_their_messages_fit_into_memory() -> None:
    many = compile_schema({"items": {"enum": list(range(1_000_000, 1_005_000))}})
    assert len(many.problems([1] * 3_000)) == 1
    long = compile_schema({"allOf": [{"pattern": f"c{n}$"} for n in range(100)]})
    assert len(long.problems("a" * 300_000)) == 1
    assert len(long.problems("a" * 3_000)) == 50


def test_many_values_are_not_judged_by_many_parts() -> None:
    schema = compile_schema({"patternProperties": {f"(a|b)*c{n}$": {} for n in range(1_000)}})
    assert schema.problems({f"ab{n}": 1 for n in range(100)}) == ()
    with pytest.raises(ExpressionFault, match="too large"):
        schema.problems({f"ab{n}": 1 for n in range(90_000)})


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "strin"},
        {"pattern": "(("},
        {"pattern": "^(?=a)"},
        {"pattern": r"\w{1000}" * 50},
        {"$ref": "#/$defs/absent"},
        {"$ref": "https://example.com/schema"},
        {"$ref": "file:///etc/passwd"},
        {"$ref": "#"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"properties": {"b": {"$ref": "#/$defs/a"}}}}},
        {"$dynamicRef": "#a", "$dynamicAnchor": "a"},
        {"properties": {"a": {"$id": "https://example.com/b", "$ref": "#/c"}}},
        doubling("allOf", 15),
        doubling("anyOf", 15),
        {"properties": {"definitions": doubling("anyOf", 15)["$defs"], "a": {"$ref": "#/properties/definitions/d0"}}},
        {**doubling("anyOf", 15), "$ref": "#/%24defs/d0"},
        {"$schema": "http://json-schema.org/draft-04/schema#"},
        {"$schema": ["no text"]},
        {"$ref": "#/$defs/d0", "$defs": {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(500)}},
    ],
    ids=str,
)
def test_a_schema_that_cannot_be_used_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(ExpressionFault):
        compile_schema(schema)


def test_references_that_share_a_definition_are_fine() -> None:
    schema = compile_schema(doubling("anyOf", 5))
    assert schema.problems("text") == ()
    assert len(schema.problems(3)) == 1


def test_a_pattern_runs_in_linear_time() -> None:
    assert compile_schema({"pattern": "^(a+)+$"}).problems("a" * 50_000 + "b")


def test_a_value_too_deep_to_be_judged_is_a_fault() -> None:
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    with pytest.raises(ExpressionFault, match="too deep"):
        compile_schema({}).problems(deep)
