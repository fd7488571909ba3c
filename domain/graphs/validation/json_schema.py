"""JSON Schema for forms and model output: compiled without fetching anything, with patterns that run in linear time."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import jsonschema_rs

from domain.expressions.common import ExpressionFault, shorten
from domain.graphs.validation.json_schema_size import expanded_size, longest_part
from domain.graphs.validation.shape import Fault, format_pointer
from domain.json_bounds import child_values, is_within_bounds
from domain.refusal import Problem

MOST_PROBLEMS = 50
MOST_VALUES = 100_000
MOST_CHECKS = 50_000
MOST_JUDGED = 20_000_000
"""Values times the parts of a schema: some ten seconds at the very worst."""
DIVISION_PARTS = 40
MOST_SAID = 20_000_000
"""Characters of all errors that a value can come to: each quotes the value and what was wanted of it."""
LARGEST_PATTERN_BYTES = 200_000
"""Compiled size; a pattern that needs more takes long to compile."""


class Schema:
    """A compiled JSON Schema."""

    __slots__ = ("_cost", "_longest_part", "_size", "_validator")

    def __init__(self, validator: jsonschema_rs.Validator, size: int, longest_part: int, *, divides: bool) -> None:
        """Bind a validator, the schema's expanded size, and how long its longest part is; use `compile_schema`.

        One that divides takes longer: of 1e300 by 1e-300 the library makes fractions, exactly.
        """
        self._validator = validator
        self._size = size
        self._cost = size * (DIVISION_PARTS if divides else 1)
        self._longest_part = longest_part

    def problems(self, value: Any) -> tuple[Problem, ...]:  # noqa: ANN401  # any JSON value
        """Give what is wrong with a JSON value, with pointers into it: up to 50 problems, the first of a large value.

        Raises ExpressionFault for a value too large or too deep to be judged.
        """
        most = min(MOST_VALUES, MOST_JUDGED // self._cost)
        if not is_within_bounds(value, items_max=most, length_max=most):
            raise ExpressionFault("JSON Schema: the value is too large or too deep")
        # The library gathers all errors before it gives the first: a million took 14 s and 1.5 GB.
        judge = self._all_errors if self._is_small(value) else self._first_error
        try:
            return tuple(Problem(format_pointer(error.instance_path), shorten(error.message)) for error in judge(value))
        except ValueError as fault:
            raise ExpressionFault(f"JSON Schema: {shorten(str(fault))}") from fault

    def _is_small(self, value: Any) -> bool:  # noqa: ANN401  # any JSON value
        """Tell whether all that could be wrong with a value can be said.

        An `enum` of 20,000 numbers against a list of 20,000 others took all memory of the process, for messages alone.
        """
        most = min(MOST_CHECKS, MOST_SAID // self._longest_part) // self._size
        return (
            is_within_bounds(value, items_max=most, length_max=MOST_CHECKS)
            and _message_characters(value) * self._size < MOST_SAID
        )

    def _all_errors(self, value: Any) -> Iterator[jsonschema_rs.ValidationError]:  # noqa: ANN401  # any JSON value
        return islice(self._validator.iter_errors(value), MOST_PROBLEMS)

    def _first_error(self, value: Any) -> Iterator[jsonschema_rs.ValidationError]:  # noqa: ANN401  # any JSON value
        try:
            self._validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            yield error


def compile_schema(schema: dict[str, Any]) -> Schema:
    """Compile a schema. Raises ExpressionFault with the reason when it is none."""
    faults = find_schema_faults(schema)
    if faults:
        raise ExpressionFault(faults[0].message)
    return Schema(_validator(schema), expanded_size(schema), longest_part(schema), divides="multipleOf" in str(schema))


def find_schema_faults(schema: dict[str, Any]) -> tuple[Fault, ...]:
    """Give what keeps a value from being a schema, with its path: the first fault only, or nothing."""
    try:
        expanded_size(schema)
        _validator(schema)
    except ExpressionFault as fault:
        return (Fault((), fault.message),)
    except jsonschema_rs.ValidationError as fault:
        return (Fault(tuple(fault.instance_path), f"JSON Schema: {shorten(fault.message)}"),)
    except ValueError as fault:
        return (Fault((), f"JSON Schema: {shorten(str(fault))}"),)
    return ()


def _message_characters(value: Any) -> int:  # noqa: ANN401  # any JSON value
    """Give how many characters of texts all parts of a value hold together: a text counts in each part around it."""
    characters, depth = 0, 0
    level: list[object] = [value]
    while level:
        depth += 1
        characters += depth * sum(len(one) for one in level if isinstance(one, str))
        level = [part for one in level for part in child_values(one)]
    return characters


def _validator(schema: dict[str, Any]) -> jsonschema_rs.Validator:
    linear = jsonschema_rs.RegexOptions(size_limit=LARGEST_PATTERN_BYTES)
    return jsonschema_rs.validator_for(schema, offline=True, pattern_options=linear)
