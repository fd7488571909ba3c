"""The work of conditions: what would hold everybody up is refused before it is evaluated, and nothing usual is."""

import json

import pytest

from domain.expressions.budget import Budget
from domain.expressions.cel import compile_condition
from domain.expressions.common import ExpressionFault
from domain.expressions.jmespath_queries import compile_query, estimate_json_size
from domain.expressions.liquid_templates import compile_template

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
        assert estimate_json_size(value) == pytest.approx(len(json.dumps(value)), rel=0.8)


TEN = f"[{','.join('@' * 10)}]"
NUMBERS: list[object] = [1] * 100_000
OBJECTS: list[object] = [{"a": n} for n in range(20_000)]


@pytest.mark.parametrize(
    "source",
    [
        f"length(numbers|{TEN}|[]|{TEN}|[]|{TEN}|[])",
        f"length(to_string(long|{TEN}|{TEN}|{TEN}))",
        f"length(objects[*].[{','.join(['a'] * 900)}])",
        f"objects|{TEN}|{TEN}|[?@ == reverse(@)]",
    ],
)
def test_a_query_that_would_do_too_much_work_is_a_fault(source: str) -> None:
    with pytest.raises(ExpressionFault, match="too much work"):
        compile_query(source).apply({"numbers": NUMBERS, "objects": OBJECTS, "long": LONG})


@pytest.mark.parametrize(
    ("source", "picked"),
    [
        ("length(objects[?a > `5` && a < `10`].{a: a, b: a})", 4),
        ("length(objects[*].[a, [a]][][])", 40_000),
        ("sort_by(objects, &a)[-1].a", 19_999),
        ("length(to_string(objects)) > `1`", True),
        ("objects[1:3] == objects[1:3] && !(objects == numbers)", True),
        ("length(numbers[].[@][])", 100_000),
        ("[`1`, [`2`], 'a'][]", [1, 2, "a"]),
        ("long[]", None),
    ],
)
def test_a_usual_query_is_applied(source: str, picked: object) -> None:
    assert compile_query(source).apply({"numbers": NUMBERS, "objects": OBJECTS, "long": LONG}) == picked


def test_queries_that_share_a_budget_spend_it_together() -> None:
    query, budget = compile_query("objects[*].a"), Budget(50_000)
    query.apply({"objects": OBJECTS}, budget)
    with pytest.raises(ExpressionFault, match="too much work"):
        query.apply({"objects": OBJECTS * 2}, budget)


@pytest.mark.parametrize(
    "condition", ["long contains 'y'", "numbers == same", "numbers contains 2", "long == 'x'", "deep == deep"]
)
def test_a_template_that_compares_large_values_over_and_over_is_a_fault(condition: str) -> None:
    template = compile_template(f"{{% for n in (1..9000) %}}{{% if {condition} %}}{{% endif %}}{{% endfor %}}")
    data: dict[str, object] = {"long": LONG, "numbers": NUMBERS, "same": list(NUMBERS), "deep": [[NUMBERS]]}
    with pytest.raises(ExpressionFault, match="too much work"):
        template.render(data)


def test_a_template_may_compare_usual_values_often() -> None:
    template = compile_template("{% for one in many %}{% if one.tags contains 'a' %}+{% endif %}{% endfor %}")
    assert template.render({"many": MANY}) == "+" * len(MANY)


def test_a_range_cannot_be_looked_through() -> None:
    for tag in ("{% if (1..99999999) contains 'x' %}{% endif %}", "{% unless a or (1..9) contains 1 %}{% endunless %}"):
        with pytest.raises(ExpressionFault, match="range"):
            compile_template(tag)
