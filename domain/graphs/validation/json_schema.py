"""JSON Schema for forms and model output: nothing is fetched, patterns run in linear time, work is estimated first.

The cost of validation is bounded by the size of the schema with its references expanded, times the values: thirty
definitions that each refer twice to the next made the validator use all memory of a machine.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any, cast

import jsonschema_rs

from domain.expressions.budget import WORK_MAX, measure_work
from domain.expressions.common import ExpressionFault, shorten
from domain.graphs.validation.shape import Fault, format_pointer
from domain.json_bounds import child_values, is_within_bounds
from domain.refusal import Problem

MOST_PROBLEMS = 50
MOST_VALUES = 100_000
MOST_CHECKS = 50_000
DIVISION_PARTS = 40
MOST_SAID = 20_000_000
"""Characters of all error messages for one value: each quotes the value and the keyword."""
LARGEST_PATTERN_BYTES = 200_000
"""Compiled size; larger patterns take long to compile."""

MOST_EXPANDED = 2_000
LONGEST_CHAIN = 20
QUICK_WORK_MAX = 4_000
PATTERN_KEYWORDS = frozenset({"pattern", "patternProperties"})
DEFINITIONS = frozenset({"$defs", "definitions"})
REFUSED = frozenset({"$dynamicRef", "$recursiveRef", "$anchor", "$dynamicAnchor"})
REFUSED_BELOW = REFUSED | {"$id"}
QUOTED = frozenset({"const", "enum", "required"})
"""Keywords whose value an error may quote."""
DRAFTS = frozenset({"https://json-schema.org/draft/2020-12/schema", "http://json-schema.org/draft-07/schema#"})
"""Older drafts resolve identifiers in other ways, which `_Expansion` does not follow."""


class Schema:
    """A compiled JSON Schema."""

    __slots__ = ("_cost", "_longest_part", "_size", "_validator")

    def __init__(self, validator: jsonschema_rs.Validator, size: int, longest_part: int, *, divides: bool) -> None:
        """Bind a validator, the schema's expanded size, and how long its longest part is; use `compile_schema`.

        `divides`: the schema uses `multipleOf`, which costs more: the library divides 1e300 by 1e-300 exactly.
        """
        self._validator = validator
        self._size = size
        self._cost = size * (DIVISION_PARTS if divides else 1)
        self._longest_part = longest_part

    def problems(self, value: Any) -> tuple[Problem, ...]:  # noqa: ANN401  # any JSON value
        """Return the problems of a JSON value, with pointers into it: up to 50, and only the first for a large value.

        Raises ExpressionFault for a value too large or too deep to validate.
        """
        most = min(MOST_VALUES, WORK_MAX // self._cost)
        if not is_within_bounds(value, items_max=most, length_max=most):
            raise ExpressionFault(
                f"JSON Schema: the value is too large or too deep for this schema. Limit: {most} values"
            )
        # The library collects all errors before it returns the first: a million took 14 s and 1.5 GB.
        judge = self._all_errors if self._is_small(value) else self._first_error
        try:
            return tuple(Problem(format_pointer(error.instance_path), shorten(error.message)) for error in judge(value))
        except ValueError as fault:
            raise ExpressionFault(f"JSON Schema: {shorten(str(fault))}") from fault

    def _is_small(self, value: Any) -> bool:  # noqa: ANN401  # any JSON value
        """Return whether the messages of all errors that a value can have fit into memory.

        An `enum` of 20,000 numbers against a list of 20,000 others used all memory of the process, for messages alone.
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
    """Compile a schema. Raises ExpressionFault with the reason when it is not usable."""
    faults = find_schema_faults(schema)
    if faults:
        raise ExpressionFault(faults[0].message)
    return Schema(
        _validator(schema),
        measure_expanded_size(schema),
        measure_longest_part(schema),
        divides="multipleOf" in str(schema),
    )


def find_value_problems(schema: dict[str, Any], value: Any) -> tuple[Problem, ...]:  # noqa: ANN401  # any JSON value
    """Compile a schema and return the problems of a JSON value. Raises ExpressionFault."""
    return compile_schema(schema).problems(value)


def is_quick(schema: dict[str, Any], value: Any) -> bool:  # noqa: ANN401  # any JSON value
    """Return whether compiling a schema and validating a value surely takes a few milliseconds at most.

    Patterns are compiled each time, and each is searched for in every text: 100 of them against 900 KB took 111 s.
    """
    parts = measure_work(schema, QUICK_WORK_MAX)
    if parts > QUICK_WORK_MAX or has_patterns(schema):
        return False
    return parts * measure_work(value, QUICK_WORK_MAX // parts) <= QUICK_WORK_MAX


def has_patterns(value: object) -> bool:
    """Return whether a schema, or a graph with schemas, may hold regular expressions."""
    pending: list[object] = [value]
    while pending:
        part = pending.pop()
        if isinstance(part, dict) and not PATTERN_KEYWORDS.isdisjoint(cast("dict[str, object]", part)):
            return True
        pending.extend(child_values(cast("object", part)))
    return False


def find_schema_faults(schema: dict[str, Any]) -> tuple[Fault, ...]:
    """Return the first fault of a schema, with its path; an empty tuple for a usable schema."""
    try:
        measure_expanded_size(schema)
        _validator(schema)
    except ExpressionFault as fault:
        return (Fault((), fault.message),)
    except jsonschema_rs.ValidationError as fault:
        return (Fault(tuple(fault.instance_path), f"JSON Schema: {shorten(fault.message)}"),)
    except ValueError as fault:
        return (Fault((), f"JSON Schema: {shorten(str(fault))}"),)
    return ()


def _message_characters(value: Any) -> int:  # noqa: ANN401  # any JSON value
    """Return the characters of strings in all parts of a value; a string counts in each part around it."""
    characters, depth = 0, 0
    level: list[object] = [value]
    while level:
        depth += 1
        characters += depth * sum(len(item) for item in level if isinstance(item, str))
        level = [part for item in level for part in child_values(item)]
    return characters


def _validator(schema: dict[str, Any]) -> jsonschema_rs.Validator:
    linear = jsonschema_rs.RegexOptions(size_limit=LARGEST_PATTERN_BYTES)
    return jsonschema_rs.validator_for(schema, offline=True, pattern_options=linear)


def measure_expanded_size(schema: dict[str, Any]) -> int:
    """Return the number of objects in a schema with every local reference expanded.

    Raises ExpressionFault for more than 2,000, for circular and remote references, and for keywords whose target
    depends on the path of evaluation.
    """
    draft: object = schema.get("$schema", min(DRAFTS))
    if not isinstance(draft, str) or draft not in DRAFTS:
        raise ExpressionFault(f"JSON Schema: unsupported $schema. Supported: {', '.join(sorted(DRAFTS))}")
    return _Expansion(schema).size(schema, ())


def measure_longest_part(schema: dict[str, Any]) -> int:
    """Return the characters of the longest part of a schema without the parts within it; usually an `enum`."""
    longest = 1
    pending: list[object] = [schema]
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            fields = cast("dict[str, object]", part)
            flat = {key: value for key, value in fields.items() if key in QUOTED or not isinstance(value, (dict, list))}
            longest = max(longest, len(str(flat)))
            pending.extend(fields.values())
        elif isinstance(part, list):
            pending.extend(cast("list[object]", part))
    return longest


class _Expansion:
    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._sizes: dict[str, int] = {}

    def size(self, value: object, chain: tuple[str, ...]) -> int:
        if isinstance(value, list):
            return self._check_size(sum(self.size(item, chain) for item in cast("list[object]", value)))
        if not isinstance(value, dict):
            return 0
        sent = cast("dict[str, object]", value)
        is_root = sent is self._root
        for keyword in REFUSED.intersection(sent) if is_root else REFUSED_BELOW.intersection(sent):
            raise ExpressionFault(f"JSON Schema: {keyword} is not supported; use $ref to $defs in the same schema")
        left_out = DEFINITIONS if is_root else frozenset[str]()
        inner = sum(self.size(item, chain) for key, item in sent.items() if key not in left_out)
        reference = sent.get("$ref")
        return self._check_size(
            1 + inner + (self._reference_size(reference, chain) if isinstance(reference, str) else 0)
        )

    def _reference_size(self, reference: str, chain: tuple[str, ...]) -> int:
        if reference in self._sizes:
            return self._sizes[reference]
        if not reference.startswith("#") or "%" in reference:
            raise ExpressionFault(
                f"JSON Schema: $ref must begin with # and point into the same schema: {shorten(reference)}"
            )
        if reference in chain or reference == "#":
            raise ExpressionFault(f"JSON Schema: $ref is circular: {shorten(reference)}")
        if len(chain) == LONGEST_CHAIN:
            raise ExpressionFault(f"JSON Schema: the chain of references is too long. Limit: {LONGEST_CHAIN}")
        self._sizes[reference] = self.size(self._target(reference), (*chain, reference))
        return self._sizes[reference]

    def _target(self, reference: str) -> object:
        """Follow a JSON pointer; return None where it leads nowhere, which the validator reports."""
        value: object = self._root
        for part in reference.removeprefix("#").split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(value, dict):
                value = cast("dict[str, object]", value).get(key)
            elif isinstance(value, list) and key.isdecimal():
                items = cast("list[object]", value)
                value = items[int(key)] if len(key) < len(str(len(items))) + 1 and int(key) < len(items) else None
            else:
                return None
        return value

    def _check_size(self, size: int) -> int:
        if size > MOST_EXPANDED:
            raise ExpressionFault(
                f"JSON Schema: the schema is too large with its references expanded. Limit: {MOST_EXPANDED} objects"
            )
        return size
