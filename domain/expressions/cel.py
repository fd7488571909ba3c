"""Conditions: CEL over a run's `inputs` and `steps`, as written in `when` on an edge.

CEL has no evaluation budget in `common-expression-language`, so the source is short, holds at most one comprehension,
and the data that a comprehension may walk is capped, as is the work that it could come to (`expressions_work`). Only
the paths that a condition names are handed over, because converting a whole run's data took 4 ms where the paths took
20 µs.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple, cast

import cel

from domain.expressions.cel_cost import Path, Shape, check_work
from domain.expressions.common import ExpressionFault, hint_at_template, shorten, translate_errors
from domain.json_bounds import is_within_bounds
from domain.suggestions import meant

LONGEST_CONDITION = 1024
LONGEST_LIST = 1_000
MOST_ITEMS_COMPREHENDED = 20_000
MOST_ITEMS = 200_000

ROOTS_IN_ORDER = ("inputs", "steps")
ROOTS = frozenset(ROOTS_IN_ORDER)
MACROS = frozenset({"all", "exists", "exists_one", "existsOne", "map", "filter"})
TYPE_NAMES = frozenset({"bool", "bytes", "double", "int", "list", "map", "null_type", "string", "uint"})
FUNCTIONS = frozenset(
    {"bytes", "contains", "double", "duration", "dyn", "endsWith", "int", "matches", "size", "startsWith", "string"}
    | {"timestamp", "type", "uint", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getFullYear"}
    | {"getHours", "getMilliseconds", "getMinutes", "getMonth", "getSeconds"}
)

# Lexical rules of the CEL specification, section "Syntax"; raw strings first, for they know no escapes.
TOKEN = re.compile(
    r"""
      (?P<skip>\s+|//[^\n]*)
    | (?P<raw>[bB]?[rR][bB]?(?:'''.*?'''|\"\"\".*?\"\"\"|'[^'\n]*'|"[^"\n]*"))
    | (?P<string>[bB]?(?:'''(?:\\.|[^\\])*?'''|\"\"\"(?:\\.|[^\\])*?\"\"\"|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"))
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<number>[0-9][A-Za-z0-9_.]*)
    | (?P<mark>.)
    """,
    re.VERBOSE | re.DOTALL,
)
PARSE_ERROR = re.compile(r"ERROR: <input>:(\d+:\d+: .*?)(?: expecting .*)?$", re.MULTILINE)
UNSUPPORTED = re.compile(r"Unsupported operation: (\w+ \S+ \w+)\.")
UNDEFINED = re.compile(r"Undefined variable or function: '(\w+)'")
PLAIN_KEY = re.compile(r"""'[^'\\]*'|"[^"\\]*\"""")


class _Token(NamedTuple):
    kind: str
    text: str


_NOTHING = _Token("end", "")


class Condition:
    """A compiled condition. `nodes` are the node ids that it certainly names as `steps.<id>`."""

    __slots__ = ("_longest", "_most_items", "_paths", "_program", "_shape", "nodes")

    def __init__(self, program: cel.Program, paths: tuple[Path, ...], shape: Shape) -> None:
        """Bind a program to the paths of the data that it names; use `compile_condition`."""
        comprehends = shape.macro is not None
        self._program = program
        self._paths = paths
        self._shape = shape
        self._longest = LONGEST_LIST if comprehends else MOST_ITEMS
        self._most_items = MOST_ITEMS_COMPREHENDED if comprehends else MOST_ITEMS
        self.nodes: frozenset[str] = frozenset(path[1] for path in paths if path[0] == "steps" and len(path) > 1)

    def holds(self, inputs: dict[str, object], steps: dict[str, object]) -> bool:
        """Evaluate. Raises ExpressionFault on an error, on data over the caps, and when the result is no boolean."""
        roots: dict[str, object] = {"inputs": inputs, "steps": steps}
        seen: dict[str, object] = {}
        for path in self._paths:
            self._show(roots, path, seen)
        check_work(self._shape, seen)
        result = self._execute(seen)
        if not isinstance(result, bool):
            raise ExpressionFault(f"CEL: the condition gave {type(result).__name__}, not true or false")
        return result

    def _execute(self, seen: dict[str, object]) -> object:
        try:
            with translate_errors("CEL"):
                return cast("object", self._program.execute(seen))
        except ExpressionFault as fault:
            told = _of_types(str(fault.__cause__))
            if told is None:
                raise
            advice = "convert it with int(), double() or string(), and ask first whether it may be null"
            raise ExpressionFault(f"CEL: {told}: {advice}") from fault

    def _show(self, roots: dict[str, object], path: Path, seen: dict[str, object]) -> None:
        """Copy the value at a path, as far as it exists, into what the program sees. No path covers another."""
        source, copy = roots, seen
        for key in path[:-1]:
            inner = source.get(key)
            if not isinstance(inner, dict):
                if key in source:
                    copy[key] = self._bounded(inner)
                return
            source = cast("dict[str, object]", inner)
            copy = cast("dict[str, object]", copy.setdefault(key, {}))
        if path[-1] in source:
            copy[path[-1]] = self._bounded(source[path[-1]])

    def _bounded(self, value: object) -> object:
        if is_within_bounds(value, items_max=self._most_items, length_max=self._longest):
            return value
        raise ExpressionFault("CEL: the condition reads more data than a condition may")


@lru_cache(maxsize=2048)
def compile_condition(source: str) -> Condition:
    """Compile CEL over `inputs` and `steps`. Raises ExpressionFault with the reason when it cannot be used."""
    if len(source.encode(errors="replace")) > LONGEST_CONDITION:
        raise ExpressionFault(f"CEL: a condition has at most {LONGEST_CONDITION} bytes")
    program = _parse(source)
    tokens = [_Token(str(m.lastgroup), m.group()) for m in TOKEN.finditer(source) if m.lastgroup != "skip"]
    bound = _bound_names(tokens)
    _refuse_unknown_names(program, bound)
    if bound and "matches" in program.functions():
        raise ExpressionFault("CEL: matches() cannot stand beside a comprehension, it would compile once per element")
    return Condition(program, _without_prefixed({path for _, path in _paths(tokens)}), _shape(tokens, bound))


def _shape(tokens: list[_Token], bound: list[str]) -> Shape:
    """Say what is named before and within the comprehension, if there is one; what comes after counts as within."""
    begins = next(_macros(tokens), len(tokens))
    return Shape(
        outer=tuple(path for at, path in _paths(tokens) if at < begins),
        inner=tuple(path for at, path in _paths(tokens) if at > begins),
        macro=tokens[begins].text if bound else None,
        tokens=len(tokens) - begins,
        bound=sum(token.text in bound for token in tokens[begins:]),
        sums=sum(token.text == "+" for token in tokens),
    )


def _parse(source: str) -> cel.Program:
    try:
        with translate_errors("CEL"):
            return cel.compile(source)
    except ExpressionFault as fault:
        # The library repeats the source and lists every token that it would have taken.
        said = PARSE_ERROR.search(str(fault.__cause__))
        where = f"CEL: at {shorten(said[1])}" if said else fault.message
        raise ExpressionFault(where + hint_at_template(source)) from fault


def _of_types(said: str) -> str | None:
    """Say in a few words that types do not fit. The library needs many, or says that it does not know the function."""
    if said.startswith("No such overload"):
        return "an operator or a function was given a type that it does not take, as in '2' > 1"
    if operation := UNSUPPORTED.match(said):
        return f"{operation[1]} cannot be done, as the types differ"
    called = UNDEFINED.match(said)
    return f"{called[1]}() was given a type that it does not take" if called and called[1] in FUNCTIONS else None


def _bound_names(tokens: list[_Token]) -> list[str]:
    """Give the variables that comprehension macros bind: `x` in `list.exists(x, …)`."""
    bound = [tokens[at + 2].text for at in _macros(tokens)]
    if len(bound) > 1:
        raise ExpressionFault("CEL: a condition has at most one of all, exists, exists_one, map and filter")
    if ROOTS.intersection(bound):
        raise ExpressionFault(f"CEL: '{bound[0]}' is taken and cannot name an element")
    return bound


def _macros(tokens: list[_Token]) -> Iterator[int]:
    """Give the places where comprehension macros stand: `exists` in `list.exists(x, …)`."""
    for at in range(1, len(tokens) - 2):
        if tokens[at].text in MACROS and tokens[at - 1].text == "." and tokens[at + 1].text == "(":
            yield at


def _refuse_unknown_names(program: cel.Program, bound: list[str]) -> None:
    unknown = [name for name in program.variables() if name not in ROOTS | TYPE_NAMES and name not in bound]
    if unknown:
        told = meant(unknown[0], ROOTS_IN_ORDER)
        raise ExpressionFault(f"CEL: '{shorten(unknown[0])}' is unknown, a condition sees inputs and steps{told}")
    functions = [name for name in program.functions() if name.isidentifier() and not name.startswith("_")]
    missing = [name for name in functions if name not in FUNCTIONS]
    if missing:
        raise ExpressionFault(f"CEL: there is no function '{shorten(missing[0])}'")


def _paths(tokens: list[_Token]) -> Iterator[tuple[int, Path]]:
    """Give each longest static path that starts at a root, with its place: `steps.review.output`, `inputs["a"]`."""
    for at, token in enumerate(tokens):
        if token.kind == "name" and token.text in ROOTS and (at == 0 or tokens[at - 1].text != "."):
            yield at, (token.text, *_keys_after(tokens, at + 1))


def _keys_after(tokens: list[_Token], at: int) -> Iterator[str]:
    while True:
        mark, key, after = (*tokens[at : at + 3], _NOTHING, _NOTHING, _NOTHING)[:3]
        if mark.text == "." and key.kind == "name" and after.text != "(":
            yield key.text
            at += 2
        elif mark.text == "[" and PLAIN_KEY.fullmatch(key.text) and after.text == "]":
            yield key.text[1:-1]
            at += 3
        else:
            return


def _without_prefixed(paths: set[Path]) -> tuple[Path, ...]:
    """Leave out each path that another one already covers, so that no copy overwrites another."""
    return tuple(sorted(path for path in paths if not any(path[:size] in paths for size in range(1, len(path)))))
