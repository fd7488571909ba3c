"""Values made from simple JSON Schemas: types, enumerations, bounds and references within the schema.

What is made is held against the whole schema by the caller, so this may be simple; what it cannot make it says.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final, cast

from domain.graphs.validation.json_schema import compile_schema

SAYS_SO: Final = "[scripted]"
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


class CannotMake(Exception):  # noqa: N818  # an answer about a schema
    """The schema asks for more than can be made without a model; the message says for what."""


def value_for(schema: Schema) -> Any:  # noqa: ANN401  # any JSON value
    """Make a JSON value. Raises CannotMake."""
    return _Maker(schema).make(schema, "answer", DEEPEST)


class _Maker:
    """Makes values by one schema, to which its references lead."""

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

    def make(self, schema: object, name: str, depth: int) -> Any:  # noqa: ANN401  # any JSON value
        """Make the value that is called `name`, at most `depth` deep."""
        self._values_left -= 1
        if depth == 0 or self._values_left < 0:
            raise CannotMake(f"'{name}' is nested too deeply, or one value too many")
        if schema is True:
            return f"{SAYS_SO} {name}"
        if not isinstance(schema, dict):
            raise CannotMake(f"'{name}' can have no value")
        given = cast("Schema", schema)
        if "const" in given:
            return given["const"]
        if given.get("enum"):
            return given["enum"][0]
        if "$ref" in given:
            return self.make(self._referred(str(given["$ref"])), name, depth - 1)
        if choices := [*given.get("anyOf", ()), *given.get("oneOf", ())]:
            return self._first_of(choices, name, depth - 1)
        return self._by_type[_find_type(given)](given, name, depth)

    def _first_of(self, choices: list[object], name: str, depth: int) -> Any:  # noqa: ANN401  # any JSON value
        for choice in choices:
            try:
                return self.make(choice, name, depth)
            except CannotMake:
                continue
        raise CannotMake(f"none of the choices of '{name}'")

    def _object(self, schema: Schema, _name: str, depth: int) -> dict[str, Any]:
        return dict(self._members(schema, depth))

    def _members(self, schema: Schema, depth: int) -> Iterator[tuple[str, Any]]:
        """Return every property that can be made; only the required must be."""
        properties: Schema = schema.get("properties", {})
        required: list[str] = schema.get("required", [])
        for name in dict.fromkeys([*properties, *required]):
            try:
                yield name, self.make(properties.get(name, True), name, depth - 1)
            except CannotMake:
                if name in required:
                    raise

    def _array(self, schema: Schema, name: str, depth: int) -> list[Any]:
        first: list[object] = schema.get("prefixItems", [])
        least, most = int(schema.get("minItems", 0)), int(schema.get("maxItems", MOST_ITEMS))
        count = min(max(least, 2, len(first)), most)
        if count > MOST_ITEMS:
            raise CannotMake(f"'{name}' needs more than {MOST_ITEMS} items")
        rest = schema.get("items", True)
        if rest is False:
            count = min(count, len(first))
        kinds = [*first, *[rest] * count][:count]
        return [self.make(kind, f"{name} {place}", depth - 1) for place, kind in enumerate(kinds, 1)]

    def _referred(self, reference: str) -> object:
        found: object = self._root
        if not reference.startswith("#"):
            raise CannotMake(f"the reference '{reference[:100]}' leads elsewhere")
        for part in reference.removeprefix("#").split("/")[1:]:
            found = _member(found, part.replace("~1", "/").replace("~0", "~"))
        if found is None:
            raise CannotMake(f"the reference '{reference[:100]}' leads nowhere")
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
        raise CannotMake(f"'{name}' has a pattern")
    if schema.get("format") in _FORMATS:
        return _FORMATS[str(schema["format"])]
    text = f"{SAYS_SO} {name}"
    least, most = int(schema.get("minLength", 0)), int(schema.get("maxLength", LONGEST_TEXT))
    if least > LONGEST_TEXT:
        raise CannotMake(f"'{name}' needs more than {LONGEST_TEXT} characters")
    return text.ljust(least, ".")[:most]


def _number(schema: Schema, name: str, _depth: int) -> int | float:
    """Take the first likely number that its own bounds allow."""
    bounds = {word: schema[word] for word in _NUMBER_WORDS if word in schema}
    judge = compile_schema({"type": schema["type"], **bounds})
    likely: list[int | float] = [1, 0]
    for word, bound in bounds.items():
        likely += [bound, bound + 1, bound - 1] if word != "multipleOf" else [bound, -bound]
    ends = [bound for word, bound in bounds.items() if word != "multipleOf"]
    likely.append(sum(ends) / max(len(ends), 1))
    step = bounds.get("multipleOf", 1)
    likely += [-(-bound // step) * step for bound in ends]
    for number in likely:
        if not judge.problems(number):
            return number
    raise CannotMake(f"'{name}' is bounded too narrowly")
