"""The work of conditions: what would hold everybody up is refused before it is evaluated, and nothing usual is."""

import json

import pytest

from domain.expressions import ExpressionFault
from domain.expressions_conditions import compile_condition
from domain.expressions_queries import compile_query, size_of

MANY: list[object] = [{"kind": "email", "tags": ["a", "b"]} for _ in range(1_000)]
LONG = "x" * 500_000


@pytest.mark.parametrize(
    "source",
    [
        "inputs.many.map(one, inputs.many).size() == 1",
        "inputs.many.filter(one, true).size() == 1",
        "inputs.many.exists(one, inputs.many == inputs.many)",
        "[1, 2, 3].map(one, inputs.many + inputs.many).size() == 1",
        "(inputs.many + inputs.many).map(one, 1).size() == 1",
        f"({'+'.join(['inputs.long'] * 80)}).size() == 1",
        f"inputs.many.map(one, [{','.join(['one'] * 200)}]).size() == 1",
    ],
)
def test_a_condition_that_would_clone_its_data_over_and_over_is_a_fault(source: str) -> None:
    with pytest.raises(ExpressionFault, match="too much work"):
        compile_condition(source).holds({"many": MANY, "long": LONG}, {})


@pytest.mark.parametrize(
    ("source", "holds"),
    [
        ("inputs.many.exists(one, one.kind == 'press')", False),
        ("inputs.many.all(one, one.kind == 'email' && 'a' in one.tags)", True),
        ("inputs.few.filter(one, one.kind == 'email').size() > 99", True),
        ("inputs.few.map(one, one.kind + '!')[0] == 'email!'", True),
        ("inputs.map.map(one, one)[0] == 1", True),
        ("size(inputs.long) > 1 && inputs.long.startsWith('x') && inputs.long + 'y' != ''", True),
    ],
)
def test_a_usual_condition_is_evaluated(source: str, *, holds: bool) -> None:
    inputs: dict[str, object] = {"many": MANY, "few": MANY[:100], "long": LONG, "map": [1]}
    assert compile_condition(source).holds(inputs, {}) is holds


def test_a_query_whose_copies_would_not_fit_is_a_fault_before_they_are_written() -> None:
    query = compile_query("[@,@,@,@]|[@,@,@,@]|[@,@,@,@]|[@,@,@,@]")
    assert len(query.apply({"text": "x" * 10_000})) == 4
    with pytest.raises(ExpressionFault, match="too large"):
        query.apply({"text": LONG})


def test_a_value_is_measured_as_it_would_be_written() -> None:
    values: list[object] = [None, "abc", {"a": [1, 2], "b": {}}, [["x"] * 3] * 1_000]
    for value in values:
        assert size_of(value) == pytest.approx(len(json.dumps(value)), rel=0.8)
