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
        ("inputs.tags.title", "'.title' is for objects, and the value before it is a text"),
        ("inputs.n.title", "'.title' is for objects, and the value before it is a number"),
        ("inputs.stories.id", "and the value before it is a list; write [].id for that of each element"),
        ("inputs.tags[0]", "[0] is for lists, and the value before it is a text; use slice"),
        ("inputs[0]", "[0] is for lists, and the value before it is an object"),
        ("inputs.stories[0].id.x | @", "'.x' is for objects, and the value before it is a text"),
        ("{a: inputs.n[-1]}", "[-1] is for lists, and the value before it is a number"),
        ("length(inputs.tags.x)", "'.x' is for objects"),
    ],
)
def test_a_wrong_type_is_said(query: str, said: str) -> None:
    with pytest.raises(ExpressionFault) as caught:
        compile_query(query).apply(DATA)
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("query", "result"),
    [
        ("inputs.gone.x[0][].y", None),
        ("inputs.tags[*]", None),
        ("inputs.tags[]", None),
        ("inputs.tags[?x]", None),
        ("inputs.tags.*", None),
        ("inputs.mixed[].id", ["a"]),
        ("inputs.mixed[?id == 'a'].id", ["a"]),
        ("inputs.mixed[*].id[0]", []),
        ("inputs.mixed[].[id]", [[None], ["a"], [None]]),
        ("map(&id, inputs.mixed)", [None, "a", None]),
        ("to_array(inputs.tags)[]", ["tea, ink"]),
        ("values(inputs.by)[].id | [0]", "a"),
        ("inputs.by.*.id", ["a"]),
    ],
)
def test_what_is_missing_is_null_and_elements_may_be_of_several_types(query: str, result: object) -> None:
    mixed: list[Any] = [5, {"id": "a"}, "text"]
    data = {"inputs": {**DATA["inputs"], "mixed": mixed, "by": {"one": {"id": "a"}, "two": 5}}}
    assert compile_query(query).apply(data) == result
