"""Conditions against the conformance tests of the CEL specification (github.com/google/cel-spec, tests/simple).

`cel_conformance.jsonl` has, of those tests, name, condition and result for each that needs neither protocol buffers nor
an extension nor variables of its own; a value that is no boolean is compared with its literal. What the library does
otherwise than the specification is listed here and in docs/workflows.md.
"""

import json
from pathlib import Path
from typing import Final

import pytest

from domain.expressions.cel import compile_condition
from domain.expressions.common import ExpressionFault

ROWS: Final = (Path(__file__).parent / "cel_conformance.jsonl").read_text(encoding="utf-8").splitlines()
DEVIATING: Final = {
    "maps whose keys are numbers of several types": {
        "comparisons/eq_literal/eq_map_mixed_type_numbers",
        "fields/map_fields/map_key_mixed_numbers_double_key",
        "fields/map_fields/map_key_mixed_numbers_int_key",
        "fields/map_fields/map_key_mixed_numbers_uint_key",
        "fields/in/mixed_numbers_and_keys_absent",
        "fields/in/mixed_numbers_and_keys_present",
    },
    "an index that is a double": {"lists/index/zero_based_double"},
    "minus before a boolean": {"integer_math/int64_math/unary_minus_not_bool"},
    "all() that is false behind an element that fails": {"macros/all/list_elem_error_shortcircuit"},
    "times as numbers, as times, and compared with null": {
        "comparisons/eq_literal/not_eq_dyn_timestamp_null",
        "conversions/int/timestamp",
        "conversions/identity/timestamp",
        "timestamps/timestamp_conversions/toInt_timestamp",
    },
    "times and durations as texts": {
        "timestamps/timestamp_conversions/toString_timestamp",
        "timestamps/timestamp_conversions/toString_timestamp_nanos",
        "timestamps/duration_conversions/toString_duration",
    },
    "a duration before a time in a sum": {"timestamps/timestamp_arithmetic/add_time_to_duration"},
    "parts of a time in a time zone": {
        f"timestamps/timestamp_selectors_tz/{name}"
        for name in (
            *("getDate", "getDayOfMonth_name_pos", "getDayOfMonth_numerical_pos", "getDayOfMonth_numerical_neg"),
            *("getDayOfMonth_name_neg", "getDayOfWeek", "getDayOfYear", "getFullYear", "getHours", "getMinutes"),
            *("getMonth", "getSeconds"),
        )
    },
}


def evaluate(condition: str) -> bool | str:
    try:
        return compile_condition(condition).holds({}, {})
    except ExpressionFault:
        return "error"


def test_conditions_do_what_the_specification_says_but_for_what_is_listed() -> None:
    rows = [json.loads(row) for row in ROWS]
    found = {name for name, condition, result in rows if evaluate(condition) != result}
    assert found == set().union(*DEVIATING.values())
    assert len(rows) > 850  # none was lost


def test_what_deviates_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "workflows.md").read_text(encoding="utf-8")
    assert [what for what in DEVIATING if what not in page] == []


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("size(inputs.text) == 5", True),
        ("inputs.text.size() == 5 && inputs.text.size( ) < 6", True),
        ("size('äöü') == 3", True),
        ("inputs.texts.exists(text, size(text) == 5)", True),
        ("inputs.texts.map(text, size(text)) == [5, 1]", True),
        ("inputs.size == 7 && size(inputs) == 3", True),
        ("size(b'\\xc3\\xa4') == 2", True),
        ("size(inputs.size) == 1 || true", True),
        ("inputs.text != 'size(x)' && size(r'\\n') == 2", True),
    ],
)
def test_size_counts_code_points(condition: str, *, holds: bool) -> None:
    inputs: dict[str, object] = {"text": "héll😀", "texts": ["héll😀", "a"], "size": 7}
    assert compile_condition(condition).holds(inputs, {}) is holds


def test_the_stand_in_of_size_is_no_function() -> None:
    with pytest.raises(ExpressionFault, match="there is no function 'siz_'"):
        compile_condition("siz_(inputs.text) == 1")


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, [1, {"deep": 2**70}]])
def test_an_integer_past_64_bits_is_refused(value: object) -> None:
    with pytest.raises(ExpressionFault, match="does not fit into 64 bits"):
        compile_condition("inputs.n == inputs.n").holds({"n": value}, {})


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63)])
def test_an_integer_of_64_bits_is_exact(value: int) -> None:
    assert compile_condition(f"inputs.n == {value}").holds({"n": value}, {})
    other = value - 1 if value > 0 else value + 1
    assert not compile_condition(f"inputs.n == {value}").holds({"n": other}, {})
