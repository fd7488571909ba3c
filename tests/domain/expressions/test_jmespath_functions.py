"""The functions that queries have beyond those of JMESPath, and what they refuse."""

from typing import Any

import pytest

from domain.expressions.common import ExpressionFault
from domain.expressions.jmespath_queries import compile_query

STORIES = [{"id": "a", "by": "Ana"}, {"id": "b", "by": "Bo"}, {"id": "c", "by": "Ana"}, {"id": "d"}]
DATA: dict[str, Any] = {
    "inputs": {"tags": "tea, ink", "stories": STORIES, "numbers": [1, 2, 3], "n": 5, "many": ["x" * 1_000] * 500}
}


@pytest.mark.parametrize(
    ("query", "result"),
    [
        ("split(inputs.tags, ', ')", ["tea", "ink"]),
        ("split(inputs.tags, '')[0]", "t"),
        ("slice(inputs.tags, `0`, `3`)", "tea"),
        ("slice(inputs.tags, `-3`, `100`)", "ink"),
        ("slice(inputs.numbers, `1`, `3`)", [2, 3]),
        ("group_by(inputs.stories, &by).Ana[].id", ["a", "c"]),
        ("keys(group_by(inputs.stories, &by))", ["Ana", "Bo"]),
        ("index_by(inputs.stories, &id).b.by", "Bo"),
        ("index_by(inputs.stories, &by).Ana.id", "c"),
        ("zip(inputs.numbers, inputs.stories[].id)", [[1, "a"], [2, "b"], [3, "c"]]),
        ("zip(inputs.numbers)", [[1], [2], [3]]),
    ],
)
def test_a_function_gives_what_it_is_for(query: str, result: object) -> None:
    assert compile_query(query).apply(DATA) == result


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("inputs.tags[0:3]", "use slice(text, from, to)"),
        ("split(inputs.n, ',')", "invalid type for value: 5"),
        ("slice(inputs.numbers, `0.5`, `1`)", "integers"),
        ("group_by(inputs.numbers, &@)", "must be a text, and is a number"),
        ("index_by(inputs.gone, &id)", "invalid type for value"),
        ("split(join('', inputs.many), '')", "Limit: 100000"),
    ],
)
def test_a_wrong_type_is_said(query: str, said: str) -> None:
    with pytest.raises(ExpressionFault) as caught:
        compile_query(query).apply(DATA)
    assert said in caught.value.message
