"""Templates rendered without the library: the same text as the library's, or left to it."""

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from domain.expressions.common import ExpressionFault
from domain.expressions.liquid_plain import PLAIN_OUTPUT_CHARACTERS_MAX, render_plain
from domain.expressions.liquid_templates import compile_template

NAMES = st.sampled_from(["inputs", "steps", "brief", "size", "first", "last", "a", "b", "secrets", "empty", "nil"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=5), lambda inner: st.dictionaries(NAMES, inner)
)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(".".join)
OUTPUTS = st.builds("{{{}{}{}}}".format, st.sampled_from(["{ ", "{- "]), PATHS, st.sampled_from([" }", " -}"]))
TEMPLATES = st.lists(OUTPUTS | st.sampled_from([" text ", "\n", "{% if a %}a{% endif %}"]), min_size=1).map("".join)


def outcome(source: str, data: dict[str, Any]) -> str:
    try:
        return compile_template(source).render(data)
    except ExpressionFault as fault:
        return f"fault: {fault.message}"


# Without a deadline: the first example includes setting up the library, which took over 200 ms on a busy machine.
@settings(deadline=None)
@example(source="{{ inputs -}} text \n", data={"inputs": None})
@given(TEMPLATES, st.dictionaries(NAMES, VALUES))
def test_a_template_renders_the_same_with_and_without_the_library(source: str, data: dict[str, Any]) -> None:
    # Before the source: the library drops a line break at the very end of a template, but not before a tag.
    needs_library = f"{{% if false %}}{{% endif %}}{source}"
    assert outcome(source, data) == outcome(needs_library, data)


@pytest.mark.parametrize(
    "value",
    [None, 1, True, [], {}, "x" * (PLAIN_OUTPUT_CHARACTERS_MAX + 1)],
)
def test_what_is_not_a_short_text_is_left_to_the_library(value: object) -> None:
    assert render_plain((("name",),), {"name": value}) is None


def test_many_short_values_that_make_a_long_text_are_left_to_the_library() -> None:
    half = "x" * (PLAIN_OUTPUT_CHARACTERS_MAX // 2)
    assert render_plain((("name",), ("name",)), {"name": half}) == half + half
    assert render_plain((("name",), ("name",), "."), {"name": half}) is None


def test_a_missing_name_is_left_to_the_library() -> None:
    assert render_plain((("inputs", "brief"),), {"inputs": {}}) is None
