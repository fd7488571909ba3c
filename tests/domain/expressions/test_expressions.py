"""Conditions, templates and queries: what they give, what they refuse, and the bounds that they keep."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.expressions.cel import compile_condition
from domain.expressions.common import ExpressionFault
from domain.expressions.jmespath_queries import compile_query
from domain.expressions.liquid_templates import compile_template
from domain.json_bounds import is_within_bounds

INPUTS: dict[str, object] = {"topic": "tea", "tags": ["a", "b"], "when": "2026-01-02T03:04:05+01:00"}
STEPS: dict[str, object] = {"draft": {"output": {"text": "Hello", "ok": True, "score": 3}}}
DATA = {"inputs": INPUTS, "steps": STEPS}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def find_fault(compiler: Callable[[str], object], source: str) -> str:
    try:
        compiler(source)
    except ExpressionFault as fault:
        return fault.message
    return ""


@pytest.mark.parametrize(
    ("source", "holds"),
    [
        ("true", True),
        ("inputs.topic == 'tea'", True),
        ("steps.draft.output.ok && steps['draft'].output.score > 3", False),
        ("steps.draft.output.score < 3.5", True),
        ("has(inputs.nothing)", False),
        ("has(steps.draft.output.text)", True),
        ("inputs.tags.exists(tag, tag == 'b')", True),
        ("inputs.tags.size() == 2 && size(inputs.tags) == 2", True),
        ("inputs.tags[0] == 'a'", True),
        ("'a' in inputs.tags", True),
        ("'steps.nothing.output' == ''", False),
        ("type(inputs.tags) == list", True),
        ("inputs.topic.matches('^t')", True),
        ("steps.exists(id, steps[id].output.ok)", True),
        ("timestamp(inputs.when).getFullYear() == 2026 // a remark with steps.nothing", True),
        ("inputs.nothing == 1 || inputs.topic.startsWith('t')", True),
    ],
)
def test_a_condition_holds_or_not(source: str, *, holds: bool) -> None:
    assert compile_condition(source).holds(INPUTS, STEPS) is holds


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("", "at 1:1"),
        ("inputs.topic ==", "at 1:16"),
        ("topic == 'tea'", "'topic' is unknown"),
        ("now() > 1", "no function 'now'"),
        ("'x' + 'y' == inputs.topic + " + "'z'" * 400, "at most 1024 bytes"),
        ("inputs.tags.all(a, inputs.tags.exists(b, a == b))", "at most one"),
        ("inputs.tags.exists(inputs, true)", "'inputs' is reserved"),
        ("inputs.tags.exists(tag, tag.matches('a'))", "matches()"),
        ("inputs.?topic == 1", "at 1:"),
    ],
)
def test_a_condition_that_cannot_be_used_is_refused_when_compiled(source: str, said: str) -> None:
    with pytest.raises(ExpressionFault, match=r".*") as caught:
        compile_condition(source)
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("inputs.none > 3", "an operator or a function does not accept this type, as in '2' > 1"),
        ("inputs.number > 3", "an operator or a function does not accept this type, as in '2' > 1"),
        ("inputs.share + 1 > 3", "float + int is not supported between these types"),
        ("size(inputs.count) > 3", "size() does not accept this type"),
        ("inputs.count.startsWith('a')", "startsWith() does not accept this type"),
    ],
)
def test_types_that_do_not_fit_are_said_in_a_few_words_with_what_to_do(source: str, said: str) -> None:
    with pytest.raises(ExpressionFault) as caught:
        compile_condition(source).holds({"number": "2", "share": 0.5, "count": 5, "none": None}, {})
    advice = "convert it with int(), double() or string(), and check for null first"
    assert caught.value.message == f"CEL: {said}: {advice}"


@pytest.mark.parametrize("compiler", [compile_condition, compile_query])
def test_an_expression_that_was_written_as_a_template_is_told_so(compiler: Callable[[str], object]) -> None:
    advice = "; {{ }} are for templates, write names without them here"
    assert find_fault(compiler, "{{ inputs.topic }} > 3").endswith(advice)
    assert advice not in find_fault(compiler, "inputs.topic >")


@pytest.mark.parametrize("source", ["inputs.count + 1", "inputs.my-key", "inputs.list[?price > 3]"])
def test_a_message_about_a_query_does_not_end_where_its_library_would_repeat_the_query(source: str) -> None:
    message = find_fault(compile_query, source)
    assert not message.endswith(":")
    assert "for expression" not in message


@pytest.mark.parametrize(
    "source",
    ["inputs.topic", "1", "inputs.nothing == 1", "steps.other.output == 1", "inputs.topic > 1", "1 / 0 == 1"],
)
def test_a_condition_that_gives_no_boolean_is_a_fault(source: str) -> None:
    with pytest.raises(ExpressionFault):
        compile_condition(source).holds(INPUTS, STEPS)


def test_a_comprehension_walks_no_long_list() -> None:
    condition = compile_condition("inputs.list.exists(item, item == 1)")
    assert not condition.holds({"list": [0] * 1_000}, {})
    with pytest.raises(ExpressionFault, match="too much data"):
        condition.holds({"list": [0] * 1_001}, {})


def test_a_condition_is_not_handed_data_that_could_exhaust_the_stack() -> None:
    deep: object = 1
    for _ in range(100_000):
        deep = {"a": deep}
    with pytest.raises(ExpressionFault, match="too much data"):
        compile_condition("inputs.deep == 1").holds({"deep": deep}, {})


def test_a_condition_names_the_nodes_that_it_reads() -> None:
    source = "steps.a.output.x == steps['b'].output && 'steps.c' != '' && inputs.steps.d == 1 // steps.e"
    assert compile_condition(source).nodes == {"a", "b"}


@given(JSON)
def test_a_condition_over_any_json_answers_or_faults(value: object) -> None:
    condition = compile_condition("inputs.value == steps.a.output || inputs.value.exists(item, item == inputs.value)")
    try:
        answer = condition.holds({"value": value}, {"a": {"output": value}})
    except ExpressionFault:
        return
    assert isinstance(answer, bool)


@given(st.text(max_size=60))
def test_any_text_compiles_as_each_language_or_faults(source: str) -> None:
    for compiler in (compile_condition, compile_query, compile_template):
        message = find_fault(compiler, source)
        assert len(message) < 400
        assert "\n" not in message


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("plain text", "plain text"),
        ("{{ inputs.topic | upcase }}", "TEA"),
        ("{% for tag in inputs.tags %}{{ tag }};{% endfor %}", "a;b;"),
        ("{{ inputs.tags }} {{ steps.draft.output }}", '["a","b"] {"text":"Hello","ok":true,"score":3}'),
        ("{% echo steps.draft.output.ok %}", "true"),
        ("{{ inputs.tags | json }}", '["a","b"]'),
        ("{{ inputs.nothing | default: 'none' }}", "none"),
        ("{% if inputs.nothing %}some{% else %}none{% endif %}", "none"),
        ("{{ inputs.when | date: '%Y-%m-%d %H:%M' }}", "2026-01-02 02:04"),
        ("{{ 0 | date: '%Y' }}", "1970"),
    ],
)
def test_a_template_renders(source: str, text: str) -> None:
    assert compile_template(source).render(DATA) == text


@pytest.mark.parametrize(
    "source",
    [
        "{{ inputs.topic",
        "{% if inputs.topic %}",
        "{% include 'other' %}",
        "{% render 'other' %}",
        "{% unknown %}",
        "{% if false %}{{ inputs.topic | unknown }}{% endif %}",
        "{% for n in (1..9) reversed %}{% endfor %}",
        "{{ '" + "a" * 65_536 + "' }}",
        "{% if a %}" * 100 + "{% endif %}" * 100,
        "{{ a" + "[a" * 5_000 + "]" * 5_000 + " }}",
    ],
)
def test_a_template_that_cannot_be_used_is_refused_when_compiled(source: str) -> None:
    with pytest.raises(ExpressionFault):
        compile_template(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ inputs.nothing }}",
        "{{ nothing.at.all }}",
        "{{ steps.other.output }}",
        "{{ inputs.nothing | upcase }}",
        "{% for item in inputs.nothing %}{% endfor %}",
        "{{ now }}",
        "{{ today }}",
        "{{ 'now' | date: '%Y' }}",
        "{{ '10:30' | date: '%Y' }}",
        "{{ inputs.when | date: '%9999999Y' }}",
        "{{ 1 | divided_by: 0 }}",
    ],
)
def test_a_template_faults_on_absent_data_and_on_the_clock(source: str) -> None:
    template = compile_template(source)
    with pytest.raises(ExpressionFault):
        template.render(DATA)


@pytest.mark.parametrize(
    "source",
    [
        "{% for n in (1..10001) %}{% endfor %}",
        "{% for n in (1..900) %}{% for m in (1..900) %}{% endfor %}{% endfor %}",
        "{% for n in (1..9000) %}{% endfor %}" * 50,
        "{% assign list = (1..100000000) %}{% for n in list reversed %}{% endfor %}",
        "{{ (1..1000000000) | join: ',' }}",
        "{% assign t = 'aaaaaaaa' %}{% for n in (1..50) %}{% assign t = t | append: t %}{% endfor %}",
        "{% assign n = 3 %}{% for m in (1..50) %}{% assign n = n | times: n %}{% endfor %}",
        "{{ long | replace: 'a', long }}",
        "{{ long | split: '' | join: long }}",
        "{{ long | split: '' | uniq | size }}",
        "{% for n in (1..9000) %}{% capture t %}{{ long }}{% endcapture %}{% endfor %}",
        "{% for n in (1..100) %}{{ long }}{% endfor %}",
    ],
)
def test_a_template_that_does_too_much_is_stopped(source: str) -> None:
    with pytest.raises(ExpressionFault):
        compile_template(source).render({"long": "a" * 100_000})


def test_a_template_names_the_nodes_that_it_reads() -> None:
    source = "{{ steps.a.output }}{{ steps['b'].output }}{{ steps[inputs.which] }}{% assign steps = 1 %}{{ steps.c }}"
    assert compile_template(source).nodes == {"a", "b"}


@pytest.mark.parametrize(
    ("source", "picked"),
    [
        ("inputs.tags[0]", "a"),
        ("steps.draft.output.{t: text, s: score}", {"t": "Hello", "s": 3}),
        ("inputs.nothing", None),
        ("length(inputs.tags)", 2),
        ("join('-', inputs.tags)", "a-b"),
        ("inputs.tags[?@ == 'b'] | [0]", "b"),
        ("values(steps)[*].output.text", ["Hello"]),
    ],
)
def test_a_query_picks(source: str, picked: object) -> None:
    assert compile_query(source).apply(DATA) == picked


@pytest.mark.parametrize(
    "source",
    [
        "",
        "inputs[",
        "unknown(@)",
        "|".join(["[@,@]"] * 40),
        "(" * 900 + "a" + ")" * 900,
        "a" * 4_097,
        "@" + " | @" * 99,
    ],
)
def test_a_query_that_cannot_be_used_is_refused_when_compiled(source: str) -> None:
    with pytest.raises(ExpressionFault):
        compile_query(source)


@pytest.mark.parametrize("source", ["length(`1`)", "sort(inputs.mixed)", "inputs.tags[::0]", "join(long, list)"])
def test_a_query_that_does_not_fit_its_data_is_a_fault(source: str) -> None:
    data = {"inputs": {"mixed": [1, "a"], "tags": []}, "long": "a" * 10_000, "list": ["a"] * 10_000}
    with pytest.raises(ExpressionFault):
        compile_query(source).apply(data)


def test_a_query_names_the_nodes_that_it_reads() -> None:
    source = "{a: steps.a.output, b: length(steps.b.output), c: inputs.steps.c} | {d: steps.d, e: inputs[?steps.e]}"
    assert compile_query(source).nodes == {"a", "b"}


def test_data_is_measured_without_recursion() -> None:
    deep: list[object] = []
    for _ in range(50_000):
        deep = [deep]
    assert not is_within_bounds(deep, items_max=1_000_000, length_max=10)
    assert is_within_bounds([1, [2], {"a": 3}], items_max=5, length_max=3)
    assert not is_within_bounds([1, [2], {"a": 3}], items_max=4, length_max=3)
    assert not is_within_bounds([1, 2, 3, 4], items_max=10, length_max=3)
