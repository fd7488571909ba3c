"""Conditions: CEL over a run's `inputs` and `steps`, as written in `when` on an edge.

`common-expression-language` has no evaluation budget and cannot be interrupted. So the source is short and holds at
most one comprehension, the data is bounded, and the work is estimated before evaluation: the library clones a variable
each time it is named, and the result of `map` or `filter` at every element. `inputs.a.map(x, inputs.a)` took 66 ms over
100 elements and a minute over 1,000, and blocked the process meanwhile.

Only the paths that a condition names are passed: converting all data of a run took 4 ms, converting the paths 20 µs.

The library's `size()` counts the bytes of a text, and it reads integers past 64 bits as floats. The specification
counts code points and has no such integers: `size` is exchanged for a function of ours, and such integers are refused.
What else deviates from the specification is in docs/workflows.md.
"""

import re
from collections.abc import Iterator, Mapping, Sized
from itertools import pairwise
from typing import Any, Final, NamedTuple, cast

import cel

from domain.expressions.budget import CHARACTERS_PER_WORK, ITEMS_PER_WORK, Budget, TooMuchWork, measure_work
from domain.expressions.common import ExpressionFault, hint_at_template, shorten, translate_errors
from domain.expressions.compiled_sources import CompiledSources
from domain.json_bounds import child_values, find_integer_beyond, is_within_bounds
from domain.suggestions import suggest_name

LONGEST_CONDITION = 1024
LONGEST_LIST = 1_000
MOST_ITEMS_COMPREHENDED = 20_000
MOST_ITEMS = 200_000
CONDITION_WORK_MAX: Final = 500_000
"""Work limit of a condition in units of `domain.expressions.budget`; about 0.25 s on the event loop."""
MENTIONS_UNWEIGHED: Final = 4
EVALUATION_WORK: Final = 20
COMPILING_WORK: Final = 1_000
"""Compiling a short condition: 0.5 to 0.7 ms."""
PATTERN_WORK: Final = 400
"""Compiling a short pattern each time that it is evaluated: 0.1 ms."""
LARGE_PATTERN_WORK: Final = 50_000
"""A pattern with repetitions or classes: up to 0.3 s, and 10 MB."""
CHARACTERS_PER_PATTERN_WORK: Final = 100_000
GATHERING_MACROS: Final = frozenset({"map", "filter"})

Path = tuple[str, ...]

ROOTS_IN_ORDER = ("inputs", "steps")
ROOTS = frozenset(ROOTS_IN_ORDER)
SIZE: Final = "size"
COUNT_SIZE: Final = "siz_"
"""Stands for `size` in the source that is executed; as long, so that the places in messages stay right."""
INTEGER_BITS: Final = 64
MACROS = frozenset({"all", "exists", "exists_one", "existsOne", "map", "filter"})
TYPE_NAMES = frozenset({"bool", "bytes", "double", "int", "list", "map", "null_type", "string", "uint"})
FUNCTIONS = frozenset(
    {"bytes", "contains", "double", "duration", "dyn", "endsWith", "int", "matches", "size", "startsWith", "string"}
    | {"timestamp", "type", "uint", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getFullYear"}
    | {"getHours", "getMilliseconds", "getMinutes", "getMonth", "getSeconds"}
)

# Lexical rules of the CEL specification, section "Syntax"; raw strings first, because they have no escapes.
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


class _Shape(NamedTuple):
    """Properties of a condition's source that decide what it costs to evaluate.

    `outer` and `inner` are the paths named before and within its comprehension, each as often as it is named; `macro`
    is that comprehension, `tokens` the number of tokens after its name, `bound` how many of them name its element;
    `sums` counts the `+` signs, each of which may copy all that was concatenated before. `has_size` is whether
    `size()` is called, which converts its argument to Python.
    """

    outer: tuple[Path, ...]
    inner: tuple[Path, ...]
    macro: str | None
    tokens: int
    bound: int
    sums: int
    has_size: bool

    @property
    def is_cheap(self) -> bool:
        """Return whether the bounds on data alone keep the work small."""
        return self.macro is None and self.sums == 0 and not self.has_size and len(self.outer) <= MENTIONS_UNWEIGHED


class Condition:
    """A compiled condition. `nodes` and `inputs` are what it certainly names as `steps.<id>` and `inputs.<name>`."""

    __slots__ = (
        "_longest", "_most_items", "_paths", "_pattern_work", "_program", "_shape", "inputs", "nodes", "source",
    )  # fmt: skip

    def __init__(
        self, source: str, program: cel.Program, paths: tuple[Path, ...], shape: _Shape, pattern_work: int
    ) -> None:
        """Bind a program to the paths of the data that it names; use `compile_condition`."""
        self.source = source
        self._pattern_work = pattern_work
        comprehends = shape.macro is not None
        self._program = program
        self._paths = paths
        self._shape = shape
        self._longest = LONGEST_LIST if comprehends else MOST_ITEMS
        self._most_items = MOST_ITEMS_COMPREHENDED if comprehends else MOST_ITEMS
        self.nodes: frozenset[str] = frozenset(path[1] for path in paths if path[0] == "steps" and len(path) > 1)
        self.inputs: frozenset[str] = frozenset(path[1] for path in paths if path[0] == "inputs" and len(path) > 1)

    def holds(self, inputs: dict[str, object], steps: dict[str, object], budget: Budget | None = None) -> bool:
        """Evaluate. Raises ExpressionFault on an error, on too much data or work, and when the result is no boolean.

        With a budget its work is charged before anything is copied or evaluated, and TooMuchWork raised beyond that.
        """
        roots: dict[str, object] = {"inputs": inputs, "steps": steps}
        if budget is not None:
            self._charge(roots, budget)
        seen: dict[str, object] = {}
        for path in self._paths:
            self._copy_path(roots, path, seen)
        _check_work(self._shape, seen)
        result = self._execute(seen)
        if not isinstance(result, bool):
            raise ExpressionFault(
                f"CEL: the condition must be true or false; its value has the type {type(result).__name__}"
            )
        return result

    def _charge(self, roots: Mapping[str, object], budget: Budget) -> None:
        """Charge for copying what the condition names, for its estimated work, and for its patterns."""
        budget.charge(EVALUATION_WORK)
        values = {path: _value_at(roots, path) for path in self._paths}
        for value in values.values():
            budget.charge(measure_work(value, max(0, budget.left)))
        if not self._shape.is_cheap:
            budget.charge(_estimate_work(self._shape, roots))
        if self._pattern_work:
            characters = sum(measure_work(value) * CHARACTERS_PER_WORK for value in values.values())
            budget.charge(self._pattern_work * (1 + characters // CHARACTERS_PER_PATTERN_WORK))

    def _execute(self, seen: dict[str, object]) -> object:
        try:
            with translate_errors("CEL"):
                return cast("object", self._program.execute(self._create_context(seen)))
        except ExpressionFault as fault:
            told = _explain_type_error(str(fault.__cause__))
            if told is None:
                raise
            advice = "convert it with int(), double() or string(), and check for null first"
            raise ExpressionFault(f"CEL: {told}: {advice}") from fault

    def _create_context(self, seen: dict[str, object]) -> dict[str, object] | cel.Context:
        if not self._shape.has_size:
            return seen
        context = cel.Context(variables=seen)
        context.add_function(COUNT_SIZE, _count_size)
        return context

    def _copy_path(self, roots: dict[str, object], path: Path, seen: dict[str, object]) -> None:
        """Copy the value at a path, as far as it exists, into the program's data. No path is a prefix of another."""
        source, copy = roots, seen
        for key in path[:-1]:
            inner = source.get(key)
            if not isinstance(inner, dict):
                if key in source:
                    copy[key] = self._check_bounds(inner)
                return
            source = cast("dict[str, object]", inner)
            copy = cast("dict[str, object]", copy.setdefault(key, {}))
        if path[-1] in source:
            copy[path[-1]] = self._check_bounds(source[path[-1]])

    def _check_bounds(self, value: object) -> object:
        if not is_within_bounds(value, items_max=self._most_items, length_max=self._longest):
            raise ExpressionFault(
                f"CEL: the condition reads too much data. Limit: {self._most_items} values, {self._longest} in one list"
            )
        beyond = find_integer_beyond(value, bits=INTEGER_BITS)
        if beyond is not None:
            raise ExpressionFault(
                f"CEL: the integer {shorten(str(beyond))} does not fit into {INTEGER_BITS} bits. Pass it as a text, or "
                "as a number with a decimal point"
            )
        return value


def _compile_condition(source: str) -> Condition:
    """Compile CEL over `inputs` and `steps`. Raises ExpressionFault with the reason when it cannot be used."""
    if len(source.encode(errors="replace")) > LONGEST_CONDITION:
        raise ExpressionFault(f"CEL: a condition has at most {LONGEST_CONDITION} bytes")
    program = _parse(source)
    tokens = [_Token(str(m.lastgroup), m.group()) for m in TOKEN.finditer(source) if m.lastgroup != "skip"]
    bound = _bound_names(tokens)
    _refuse_unknown_names(program, bound)
    if bound and "matches" in program.functions():
        raise ExpressionFault("CEL: matches() cannot be used with a comprehension: it would compile per element")
    shape = _shape(tokens, bound)
    if shape.has_size:
        program = _parse(_exchange_size(source))
    paths = _drop_covered_paths({path for _, path in _paths(tokens)})
    return Condition(source, program, paths, shape, _estimate_patterns(source, tokens))


def _weigh(source: str) -> int:
    """Return the memory of a compiled condition, estimated."""
    return 4_096 + 256 * len(source)


_compiled: Final = CompiledSources(_compile_condition, weigh=_weigh)


def compile_condition(source: str) -> Condition:
    """Return compiled CEL over `inputs` and `steps`. Raises ExpressionFault with the reason when it cannot be used."""
    return _compiled(source)


def charge_compiling(source: str, budget: Budget) -> None:
    """Charge for compiling a condition, unless it is compiled already. Raises TooMuchWork."""
    if source not in _compiled:
        budget.charge(COMPILING_WORK)


def _exchange_size(source: str) -> str:
    """Return a source that calls our function for `size`, and is the same otherwise; fields may be named `size`."""
    tokens = [_Token(str(m.lastgroup), m.group()) for m in TOKEN.finditer(source)]
    visible = [at for at, token in enumerate(tokens) if token.kind != "skip"]
    calls = {at for at, after in pairwise(visible) if tokens[at].text == SIZE and tokens[after].text == "("}
    return "".join(COUNT_SIZE if at in calls else token.text for at, token in enumerate(tokens))


def _count_size(value: object) -> int:
    """Return the code points of a text, the bytes of bytes, the elements of a list, the keys of a map."""
    if isinstance(value, (str, bytes, list, dict)):
        return len(cast("Sized", value))
    raise TypeError(f"size() does not accept {type(value).__name__}")


def _estimate_patterns(source: str, tokens: list[_Token]) -> int:
    """Return the work of compiling the patterns of `matches()`; a repetition such as `{100}` multiplies it."""
    count = sum(token.text == "matches" for token in tokens)
    weight = LARGE_PATTERN_WORK if "{" in source or "\\" in source else PATTERN_WORK
    return count * weight


def _shape(tokens: list[_Token], bound: list[str]) -> _Shape:
    """Return the paths named before and within the comprehension, if any; what follows it counts as within."""
    begins = next(_macros(tokens), len(tokens))
    return _Shape(
        outer=tuple(path for at, path in _paths(tokens) if at < begins),
        inner=tuple(path for at, path in _paths(tokens) if at > begins),
        macro=tokens[begins].text if bound else None,
        tokens=len(tokens) - begins,
        bound=sum(token.text in bound for token in tokens[begins:]),
        sums=sum(token.text == "+" for token in tokens),
        has_size=any(token.text == SIZE and after.text == "(" for token, after in pairwise(tokens)),
    )


def _check_work(shape: _Shape, seen: Mapping[str, object]) -> None:
    """Raise TooMuchWork when the condition could exceed CONDITION_WORK_MAX with this data."""
    if not shape.is_cheap and _estimate_work(shape, seen) > CONDITION_WORK_MAX:
        raise TooMuchWork(
            "CEL: the condition would do too much work with this data. Compare a part of it instead of the whole, "
            "or pick what the condition needs in a transform step before it"
        )


def _estimate_work(shape: _Shape, seen: Mapping[str, object]) -> int:
    values = {path: _value_at(seen, path) for path in {*shape.outer, *shape.inner}}
    works = {path: measure_work(value) for path, value in values.items()}
    outer = sum(works[path] for path in shape.outer)
    inner = sum(works[path] for path in shape.inner)
    clones = 1 + shape.sums
    if shape.macro is None:
        return clones * outer
    longest = max(map(_longest_collection, values.values()), default=0)
    rounds = longest * max(1, len(shape.outer)) if longest else shape.tokens
    elements = outer * max(1, shape.bound)
    each_round = 1 + shape.tokens // ITEMS_PER_WORK + inner
    if shape.macro in GATHERING_MACROS:  # the accumulated result is cloned in every iteration
        return clones * rounds * (rounds * each_round + elements)
    return clones * (rounds * each_round + elements)


def _longest_collection(value: object) -> int:
    longest = 0
    pending = [value]
    while pending:
        children = child_values(pending.pop())
        longest = max(longest, len(children))
        pending.extend(children)
    return longest


def _value_at(seen: Mapping[str, object], path: Path) -> object:
    """Return the value at a path; None where it does not exist."""
    value: Any = seen
    for key in path:
        if not isinstance(value, dict):
            return None
        value = cast("dict[str, object]", value).get(key)
    return value


def _parse(source: str) -> cel.Program:
    try:
        with translate_errors("CEL"):
            return cel.compile(source)
    except ExpressionFault as fault:
        # The library repeats the source and lists every token that it would have accepted.
        said = PARSE_ERROR.search(str(fault.__cause__))
        where = f"CEL: at {shorten(said[1])}" if said else fault.message
        raise ExpressionFault(where + hint_at_template(source)) from fault


def _explain_type_error(message: str) -> str | None:
    """Return a short message for a type error; the library's is long, or calls the function unknown. Else None."""
    if message.startswith("No such overload"):
        return "an operator or a function does not accept this type, as in '2' > 1"
    if operation := UNSUPPORTED.match(message):
        return f"{operation[1]} is not supported between these types"
    if message.startswith(f"Function '{COUNT_SIZE}' error"):
        return f"{SIZE}() does not accept this type"
    called = UNDEFINED.match(message)
    return f"{called[1]}() does not accept this type" if called and called[1] in FUNCTIONS else None


def _bound_names(tokens: list[_Token]) -> list[str]:
    """Return the variables that comprehension macros bind: `x` in `list.exists(x, …)`."""
    bound = [tokens[at + 2].text for at in _macros(tokens)]
    if len(bound) > 1:
        raise ExpressionFault("CEL: a condition has at most one of all, exists, exists_one, map and filter")
    if ROOTS.intersection(bound):
        raise ExpressionFault(f"CEL: '{bound[0]}' is reserved and cannot name an element")
    return bound


def _macros(tokens: list[_Token]) -> Iterator[int]:
    """Yield the indexes of comprehension macros: of `exists` in `list.exists(x, …)`."""
    for at in range(1, len(tokens) - 2):
        if tokens[at].text in MACROS and tokens[at - 1].text == "." and tokens[at + 1].text == "(":
            yield at


def _refuse_unknown_names(program: cel.Program, bound: list[str]) -> None:
    unknown = [name for name in program.variables() if name not in ROOTS | TYPE_NAMES and name not in bound]
    if unknown:
        told = suggest_name(unknown[0], ROOTS_IN_ORDER)
        raise ExpressionFault(f"CEL: '{shorten(unknown[0])}' is unknown, a condition sees inputs and steps{told}")
    functions = [name for name in program.functions() if name.isidentifier() and not name.startswith("_")]
    missing = [name for name in functions if name not in FUNCTIONS]
    if missing:
        raise ExpressionFault(f"CEL: there is no function '{shorten(missing[0])}'")


def _paths(tokens: list[_Token]) -> Iterator[tuple[int, Path]]:
    """Yield each longest static path from a root, with its index: `steps.review.output`, `inputs["a"]`."""
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


def _drop_covered_paths(paths: set[Path]) -> tuple[Path, ...]:
    """Return the paths that have no prefix among the others, so that no copy overwrites another."""
    return tuple(sorted(path for path in paths if not any(path[:size] in paths for size in range(1, len(path)))))
