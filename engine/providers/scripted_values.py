"""Generate values from simple JSON Schemas: types, enumerations, bounds and references within the schema.

Incomplete on purpose: the caller validates the value against the whole schema.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final, cast

from domain.graphs.validation.json_schema import compile_schema

MARKER: Final = "[scripted]"
DEEPEST: Final = 20
MOST_VALUES: Final = 10_000
MOST_ITEMS: Final = 100
LONGEST_TEXT: Final = 10_000

Schema = dict[str, Any]
_TYPES: Final = ("object", "array", "string", "integer", "number", "boolean", "null")
_NUMBER_WORDS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_FORMATS: Final = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "email": "scripted@example.com",
    "uri": "https://example.com/scripted",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


class CannotGenerate(Exception):  # noqa: N818  # an expected outcome
    """The schema is not supported; the message names the unsupported part."""


def generate_value(schema: Schema) -> Any:  # noqa: ANN401  # any JSON value
    """Return a JSON value for a schema. Raises CannotGenerate."""
    return _Generator(schema).generate(schema, "answer", DEEPEST)


class _Generator:
    """Generates values; `root` is the schema that references point into."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._values_left = MOST_VALUES
        self._by_type: dict[str, Callable[[Schema, str, int], Any]] = {
            "object": self._object,
            "array": self._array,
            "string": _string,
            "integer": _number,
            "number": _number,
            "boolean": lambda _schema, _name, _depth: True,
            "null": lambda _schema, _name, _depth: None,
        }

    def generate(self, schema: object, name: str, depth: int) -> Any:  # noqa: ANN401  # any JSON value
        """Return a value for a schema, at most `depth` levels deep; `name` is used in texts and messages."""
        self._values_left -= 1
        if depth == 0 or self._values_left < 0:
            raise CannotGenerate(f"'{name}' is nested too deeply, or the value has too many parts")
        if schema is True:
            return f"{MARKER} {name}"
        if not isinstance(schema, dict):
            raise CannotGenerate(f"no value is valid for '{name}'")
        given = cast("Schema", schema)
        if "const" in given:
            return given["const"]
        if given.get("enum"):
            return given["enum"][0]
        if "$ref" in given:
            return self.generate(self._resolve_reference(str(given["$ref"])), name, depth - 1)
        if choices := [*given.get("anyOf", ()), *given.get("oneOf", ())]:
            return self._generate_any(choices, name, depth - 1)
        return self._by_type[_find_type(given)](given, name, depth)

    def _generate_any(self, choices: list[object], name: str, depth: int) -> Any:  # noqa: ANN401  # any JSON value
        for choice in choices:
            try:
                return self.generate(choice, name, depth)
            except CannotGenerate:
                continue
        raise CannotGenerate(f"none of the alternatives of '{name}' is supported")

    def _object(self, schema: Schema, _name: str, depth: int) -> dict[str, Any]:
        return dict(self._members(schema, depth))

    def _members(self, schema: Schema, depth: int) -> Iterator[tuple[str, Any]]:
        """Yield every property that can be generated. Raises CannotGenerate for a required one."""
        properties: Schema = schema.get("properties", {})
        required: list[str] = schema.get("required", [])
        for name in dict.fromkeys([*properties, *required]):
            try:
                yield name, self.generate(properties.get(name, True), name, depth - 1)
            except CannotGenerate:
                if name in required:
                    raise

    def _array(self, schema: Schema, name: str, depth: int) -> list[Any]:
        first: list[object] = schema.get("prefixItems", [])
        least, most = int(schema.get("minItems", 0)), int(schema.get("maxItems", MOST_ITEMS))
        count = min(max(least, 2, len(first)), most)
        if count > MOST_ITEMS:
            raise CannotGenerate(f"'{name}' requires more than {MOST_ITEMS} items")
        rest = schema.get("items", True)
        if rest is False:
            count = min(count, len(first))
        kinds = [*first, *[rest] * count][:count]
        return [self.generate(kind, f"{name} {place}", depth - 1) for place, kind in enumerate(kinds, 1)]

    def _resolve_reference(self, reference: str) -> object:
        found: object = self._root
        if not reference.startswith("#"):
            raise CannotGenerate(f"the reference '{reference[:100]}' points outside the schema")
        for part in reference.removeprefix("#").split("/")[1:]:
            found = _member(found, part.replace("~1", "/").replace("~0", "~"))
        if found is None:
            raise CannotGenerate(f"the target of the reference '{reference[:100]}' does not exist")
        return found


def _member(value: object, key: str) -> object:
    return cast("Schema", value).get(key) if isinstance(value, dict) else None


def _find_type(schema: Schema) -> str:
    given = schema.get("type")
    if isinstance(given, list):
        return str(next((kind for kind in _TYPES if kind in cast("list[object]", given)), "null"))
    if isinstance(given, str):
        return given
    if "properties" in schema or "required" in schema:
        return "object"
    return "array" if "items" in schema or "prefixItems" in schema else "string"


def _string(schema: Schema, name: str, _depth: int) -> str:
    if "pattern" in schema:
        raise CannotGenerate(f"'{name}' has a pattern, which is not supported")
    if schema.get("format") in _FORMATS:
        return _FORMATS[str(schema["format"])]
    text = f"{MARKER} {name}"
    least, most = int(schema.get("minLength", 0)), int(schema.get("maxLength", LONGEST_TEXT))
    if least > LONGEST_TEXT:
        raise CannotGenerate(f"'{name}' requires more than {LONGEST_TEXT} characters")
    return text.ljust(least, ".")[:most]


def _number(schema: Schema, name: str, _depth: int) -> int | float:
    """Return the first of some candidate numbers that satisfies the bounds."""
    bounds = {word: schema[word] for word in _NUMBER_WORDS if word in schema}
    validator = compile_schema({"type": schema["type"], **bounds})
    candidates: list[int | float] = [1, 0]
    for word, bound in bounds.items():
        candidates += [bound, bound + 1, bound - 1] if word != "multipleOf" else [bound, -bound]
    ends = [bound for word, bound in bounds.items() if word != "multipleOf"]
    candidates.append(sum(ends) / max(len(ends), 1))
    step = bounds.get("multipleOf", 1)
    candidates += [-(-bound // step) * step for bound in ends]
    for number in candidates:
        if not validator.problems(number):
            return number
    raise CannotGenerate(f"no candidate number satisfies the bounds of '{name}'")
