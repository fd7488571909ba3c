"""JSON Schema for forms and model output: compiled without fetching anything, with patterns that run in linear time."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import jsonschema_rs

from domain.expressions import ExpressionFault, is_within, quoted
from domain.graph_schema_size import expanded_size
from domain.graph_shape import Fault, pointer_to
from domain.refusal import Problem

MOST_PROBLEMS = 50
MOST_VALUES = 100_000
MOST_CHECKS = 50_000
LARGEST_PATTERN_BYTES = 200_000
"""Compiled size; a pattern that needs more takes long to compile."""


class Schema:
    """A compiled JSON Schema."""

    __slots__ = ("_size", "_validator")

    def __init__(self, validator: jsonschema_rs.Validator, size: int) -> None:
        """Bind a validator and the schema's expanded size; use `compile_schema`."""
        self._validator = validator
        self._size = size

    def problems(self, value: Any) -> tuple[Problem, ...]:  # noqa: ANN401  # any JSON value
        """Give what is wrong with a JSON value, with pointers into it: up to 50 problems, the first of a large value.

        Raises ExpressionFault for a value too large or too deep to be judged.
        """
        if not is_within(value, most_items=MOST_VALUES, longest=MOST_VALUES):
            raise ExpressionFault("JSON Schema: the value is too large or too deep")
        # The library gathers all errors before it gives the first: a million took 14 s and 1.5 GB.
        is_small = is_within(value, most_items=MOST_CHECKS // self._size, longest=MOST_CHECKS)
        judge = self._all_errors if is_small else self._first_error
        try:
            return tuple(Problem(pointer_to(error.instance_path), quoted(error.message)) for error in judge(value))
        except ValueError as fault:
            raise ExpressionFault(f"JSON Schema: {quoted(str(fault))}") from fault

    def _all_errors(self, value: Any) -> Iterator[jsonschema_rs.ValidationError]:  # noqa: ANN401  # any JSON value
        return islice(self._validator.iter_errors(value), MOST_PROBLEMS)

    def _first_error(self, value: Any) -> Iterator[jsonschema_rs.ValidationError]:  # noqa: ANN401  # any JSON value
        try:
            self._validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            yield error


def compile_schema(schema: dict[str, Any]) -> Schema:
    """Compile a schema. Raises ExpressionFault with the reason when it is none."""
    faults = schema_faults(schema)
    if faults:
        raise ExpressionFault(faults[0].message)
    return Schema(_validator(schema), expanded_size(schema))


def schema_faults(schema: dict[str, Any]) -> tuple[Fault, ...]:
    """Give what keeps a value from being a schema, with its path: the first fault only, or nothing."""
    try:
        expanded_size(schema)
        _validator(schema)
    except ExpressionFault as fault:
        return (Fault((), fault.message),)
    except jsonschema_rs.ValidationError as fault:
        return (Fault(tuple(fault.instance_path), f"JSON Schema: {quoted(fault.message)}"),)
    except ValueError as fault:
        return (Fault((), f"JSON Schema: {quoted(str(fault))}"),)
    return ()


def _validator(schema: dict[str, Any]) -> jsonschema_rs.Validator:
    linear = jsonschema_rs.RegexOptions(size_limit=LARGEST_PATTERN_BYTES)
    return jsonschema_rs.validator_for(schema, offline=True, pattern_options=linear)
