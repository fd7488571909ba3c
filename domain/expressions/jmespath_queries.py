"""Queries: JMESPath over a run's data, as written in transforms and wherever a value is picked.

The language has no loops, yet it can multiply: `[@,@]|[@,@]|…` doubles at each step, and `join` repeats its glue. How
often a query can repeat its input is read off its syntax tree when it is compiled; what it does with its data is
counted while it is applied (`expressions_query_work`).
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import takewhile
from typing import Any, NotRequired, TypedDict, cast

import jmespath
from jmespath.functions import Functions, signature
from jmespath.parser import ParsedResult

from domain.expressions.budget import Budget
from domain.expressions.common import ExpressionFault, hint_at_template, shorten, translate_errors
from domain.expressions.jmespath_cost import BudgetedInterpreter

LONGEST_QUERY = 4096
DEEPEST_QUERY = 60
MOST_COPIES = 1_000
LONGEST_JOIN = 10_000_000
LONGEST_RESULT = 16_000_000
COPIES_UNWEIGHED = 4

KNOWN_FUNCTIONS = frozenset(Functions.FUNCTION_TABLE)


class _Syntax(TypedDict):
    """A node of the library's syntax tree; the children of a slice are numbers."""

    type: str
    children: list[Any]
    value: NotRequired[Any]


class _BoundedFunctions(Functions):
    """The standard functions, with a bound on the one whose result is a product of its arguments."""

    @signature({"types": ["string"]}, {"types": ["array-string"]})
    def _func_join(self, separator: str, strings: list[str]) -> str:
        if len(separator) * len(strings) + sum(map(len, strings)) > LONGEST_JOIN:
            raise ExpressionFault("JMESPath: join would make too long a text")
        return separator.join(strings)


class Query:
    """A compiled query.

    `nodes` are the node ids that it certainly names as `steps.<id>`; `roots` are the names that it certainly looks
    for in the whole data, and not in a part of it.
    """

    __slots__ = ("_copies", "_functions", "_parsed", "nodes", "roots")

    def __init__(self, parsed: ParsedResult, *, nodes: frozenset[str], roots: frozenset[str], copies: int) -> None:
        """Bind a parsed query to the bounded functions; use `compile_query`."""
        self._parsed = parsed
        self._copies = copies
        self._functions = _BoundedFunctions()
        self.nodes = nodes
        self.roots = roots

    def apply(self, data: object, budget: Budget | None = None) -> Any:  # noqa: ANN401  # JSON in, JSON out
        """Give the JSON value that the query picks, None where it picks nothing. Raises ExpressionFault.

        Queries that are applied for one step may share a budget of work.
        """
        with translate_errors("JMESPath"):
            interpreter = BudgetedInterpreter(self._functions, budget or Budget())
            result = interpreter.visit(self._parsed.parsed, data)
        if self._copies > COPIES_UNWEIGHED and size_of(result) > LONGEST_RESULT:
            raise ExpressionFault("JMESPath: the result would be too large")
        return result


@lru_cache(maxsize=2048)
def compile_query(source: str) -> Query:
    """Compile JMESPath. Raises ExpressionFault with the reason when it cannot be used."""
    if len(source) > LONGEST_QUERY:
        raise ExpressionFault(f"JMESPath: a query has at most {LONGEST_QUERY} characters")
    parsed = _parse(source)
    tree = cast("_Syntax", parsed.parsed)
    copies = _copies(tree, DEEPEST_QUERY)
    if copies > MOST_COPIES:
        raise ExpressionFault("JMESPath: the query would repeat its data too many times")
    paths = tuple(_paths(tree))
    nodes = frozenset(path[1] for path in paths if path[0] == "steps" and len(path) > 1)
    return Query(parsed, nodes=nodes, roots=frozenset(path[0] for path in paths), copies=copies)


def _parse(source: str) -> ParsedResult:
    try:
        with translate_errors("JMESPath"):
            return jmespath.compile(source)
    except ExpressionFault as fault:
        raise ExpressionFault(fault.message + hint_at_template(source)) from fault


def size_of(value: object) -> int:
    """Give about how many characters a JSON value takes when it is written.

    A copy is the same object in memory and takes room only when it is written: so each is measured once, and the last
    level first, without calls within calls.
    """
    sizes: dict[int, int] = {}
    pending: list[object] = [value]
    while pending:
        item = pending[-1]
        inner = _inner(item)
        unknown = [one for one in inner if id(one) not in sizes]
        if unknown:
            pending.extend(unknown)
            continue
        own = len(item) if isinstance(item, str) else 2
        sizes[id(item)] = own + sum(sizes[id(one)] for one in inner) + len(inner)
        pending.pop()
    return sizes[id(value)]


def _inner(value: object) -> list[object]:
    if isinstance(value, dict):
        fields = cast("dict[str, object]", value)
        return [*fields, *fields.values()]
    return cast("list[object]", value) if isinstance(value, list) else []


def _copies(tree: _Syntax, depth: int) -> int:
    """Give how many times the result can hold the input, at most; refuse unknown functions and deep nesting."""
    if depth == 0:
        raise ExpressionFault("JMESPath: the query is too deeply nested")
    if tree["type"] == "function_expression" and tree.get("value") not in KNOWN_FUNCTIONS:
        raise ExpressionFault(f"JMESPath: there is no function '{shorten(str(tree.get('value')))}'")
    children = [_copies(cast("_Syntax", child), depth - 1) for child in tree["children"] if isinstance(child, dict)]
    if tree["type"] in {"multi_select_list", "multi_select_dict", "function_expression"}:
        return min(sum(children), MOST_COPIES + 1)
    product = 1
    for copies in children:
        product = min(product * max(copies, 1), MOST_COPIES + 1)
    return product


def _paths(tree: _Syntax) -> Iterator[tuple[str, ...]]:
    """Walk the parts of a query that see the whole data, and give each path of names there: `steps.draft`, `inputs`.

    Within projections, filters, pipes and `&…`, names are relative to what stands before them.
    """
    children = [cast("_Syntax", child) for child in tree["children"] if isinstance(child, dict)]
    match tree["type"]:
        case "field":
            yield (str(tree.get("value")),)
        case "subexpression":
            yield from _dotted(children)
        case "pipe" | "projection" | "value_projection" | "filter_projection" | "index_expression" | "flatten":
            yield from _paths(children[0])
        case "expref":
            return
        case _:
            for child in children:
                yield from _paths(child)


def _dotted(children: list[_Syntax]) -> Iterator[tuple[str, ...]]:
    """Give the paths of `a.b.c`: what comes after the first part is relative to it, and `@` is the whole data."""
    first, *rest = children
    if first["type"] == "current":
        yield from _dotted(rest) if len(rest) > 1 else _paths(rest[0])
    elif first["type"] == "field":
        names = takewhile(lambda child: child["type"] == "field", children)
        yield tuple(str(child.get("value")) for child in names)
    else:
        yield from _paths(first)
