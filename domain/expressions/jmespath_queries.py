"""Queries: JMESPath over a run's data, as written in transforms and wherever a value is selected.

The language has no loops, but it multiplies: `[@,@]|[@,@]|…` doubles at each step, `join` repeats its separator, and
literals in projections need no data at all. How often a query can repeat its input is read from its syntax tree when it
is compiled; its work is charged while it runs. `[@,@,…]|[]|[@,@,…]|[]` over half a million numbers used all memory of
the process, and a wide selection from each of 100,000 objects blocked it for minutes.
"""

from collections.abc import Callable, Iterable, Iterator, Sized
from itertools import takewhile
from typing import Any, Final, NotRequired, TypedDict, cast

import jmespath
from jmespath.functions import Functions
from jmespath.parser import ParsedResult
from jmespath.visitor import TreeInterpreter

from domain.expressions.budget import CHARACTERS_PER_WORK, ITEMS_PER_WORK, Budget, measure_work
from domain.expressions.common import ExpressionFault, hint_at_template, shorten, translate_errors
from domain.expressions.compiled_sources import CompiledSources
from domain.expressions.jmespath_functions import BoundedFunctions, name_type
from domain.json_bounds import child_values

LONGEST_QUERY = 4096
DEEPEST_QUERY = 60
MOST_COPIES = 1_000
LONGEST_RESULT = 16_000_000
COPIES_UNWEIGHED = 4

CALL_WORK: Final = 4
SORTS: Final = frozenset({"group_by", "index_by", "max_by", "min_by", "sort", "sort_by"})
WALKS_ALL: Final = frozenset({"contains", "to_string"})
"""Functions that read all of their arguments, at any depth."""

KNOWN_FUNCTIONS = frozenset(BoundedFunctions.FUNCTION_TABLE)


class _Syntax(TypedDict):
    """A node of the library's syntax tree; the children of a slice are numbers."""

    type: str
    children: list[Any]
    value: NotRequired[Any]


class BudgetedInterpreter(TreeInterpreter):
    """Charges a budget for each part of a query applied to a value, and for what is copied or compared.

    A field or a place of a value that has none is refused. JMESPath leaves these open; for `[]`, `[*]`, `*`, `[?]` and
    the order of texts and numbers it demands null. Elements of a list may be of several types: for them it is null.
    """

    def __init__(self, functions: Functions, budget: Budget, *, is_strict: bool = True) -> None:
        """Bind the functions and the budget; use `Query.apply`. One that is not strict is for the elements of lists."""
        super().__init__()
        self._elements = BudgetedInterpreter(functions, budget, is_strict=False) if is_strict else self
        self._functions = functions
        self._budget = budget
        self._methods: dict[str, Callable[[Any, Any], Any]] = {}

    def visit(self, node: Any, value: Any) -> Any:  # noqa: ANN401  # the library's interface
        """Apply a part of the query. Called for each part and each element, so it avoids function calls."""
        budget = self._budget
        if budget.left <= 0:
            budget.charge(1)
        budget.left -= 1
        kind = node["type"]
        method = self._methods.get(kind)
        if method is None:
            method = self._methods[kind] = getattr(self, f"visit_{kind}")
        return method(node, value)

    def visit_flatten(self, node: Any, value: Any) -> Any:  # noqa: ANN401  # the visitor of the library, over JSON
        """Flatten a list, after charging for its length."""
        base = self.visit(node["children"][0], value)
        if not isinstance(base, list):
            return None
        parts = cast("list[Any]", base)
        self._budget.charge(sum(_length(part) for part in parts) // ITEMS_PER_WORK + len(parts) // ITEMS_PER_WORK)
        return [item for part in parts for item in (cast("list[Any]", part) if isinstance(part, list) else [part])]

    def visit_field(self, node: Any, value: Any) -> Any:  # noqa: ANN401  # the visitor of the library, over JSON
        """Return a field of an object, null if it has none."""
        if isinstance(value, dict):
            return cast("dict[str, Any]", value).get(node["value"])
        name = shorten(str(node["value"]))
        hint = f"; write [].{name} for that of each element" if isinstance(value, list) else ""
        return self._refuse_type(f"'.{name}'", "objects", cast("object", value), hint)

    def visit_index(self, node: Any, value: Any) -> Any:  # noqa: ANN401  # the visitor of the library, over JSON
        """Return an element of a list, null if it is shorter."""
        if isinstance(value, list):
            return super().visit_index(node, value)
        hint = "; use slice(text, from, to) for a text" if isinstance(value, str) else ""
        return self._refuse_type(f"[{node['value']}]", "lists", value, hint)

    def _refuse_type(self, part: str, kinds: str, value: object, hint: str) -> None:
        """Return null for null, and within a list for any value; otherwise raise ExpressionFault."""
        if value is not None and self._elements is not self:
            raise ExpressionFault(
                f"JMESPath: {part} is for {kinds}, and the value before it is {name_type(value)}{hint}"
            )

    def visit_projection(self, node: Any, value: Any) -> Any:  # noqa: ANN401  # the visitor of the library, over JSON
        """Apply a part to each element of a list; null of anything else."""
        base = self.visit(node["children"][0], value)
        return self._project(node["children"][1], cast("list[Any]", base)) if isinstance(base, list) else None

    def visit_value_projection(self, node: Any, value: Any) -> Any:  # noqa: ANN401  # the visitor of the library, over JSON
        """Apply a part to each value of an object; null of anything else."""
        base = self.visit(node["children"][0], value)
        return self._project(node["children"][1], cast("Any", base).values()) if isinstance(base, dict) else None

    def visit_filter_projection(self, node: Any, value: Any) -> Any:  # noqa: ANN401  # the visitor of the library, over JSON
        """Apply a part to each element of a list for which a condition holds; null of anything else."""
        base = self.visit(node["children"][0], value)
        if not isinstance(base, list):
            return None
        holds, visit = node["children"][2], self._elements.visit
        chosen = (element for element in cast("list[Any]", base) if _is_true(visit(holds, element)))
        return self._project(node["children"][1], chosen)

    def _project(self, part: Any, elements: Iterable[Any]) -> list[Any]:  # noqa: ANN401  # a node of the syntax tree
        visit = self._elements.visit
        return [found for element in elements if (found := visit(part, element)) is not None]

    def visit_expref(self, node: Any, value: Any) -> Any:  # noqa: ANN401  # the visitor of the library, over JSON
        """Return an expression that a function applies to the elements of a list."""
        expression: Any = super().visit_expref(node, value)
        expression.interpreter = self._elements
        return expression

    def visit_slice(self, node: Any, value: Any) -> Any:  # noqa: ANN401  # the visitor of the library, over JSON
        """Slice a list, which copies at most all of it."""
        if isinstance(value, str):
            raise ExpressionFault("JMESPath: [from:to] is for lists; use slice(text, from, to) for a text")
        self._budget.charge(_length(value) // ITEMS_PER_WORK)
        return super().visit_slice(node, value)

    def visit_comparator(self, node: Any, value: Any) -> Any:  # noqa: ANN401  # the visitor of the library, over JSON
        """Compare two values, which may be large."""
        left, right = (self.visit(child, value) for child in node["children"])
        if _may_be_large(left) and _may_be_large(right):
            most = max(0, self._budget.left)
            self._budget.charge(min(measure_work(left, most), measure_work(right, most)))
        compared: Any = {"value": node["value"], "children": [_literal(left), _literal(right)]}
        return super().visit_comparator(compared, value)

    def visit_function_expression(self, node: Any, value: Any) -> Any:  # noqa: ANN401  # the visitor of the library, over JSON
        """Call a function, after charging for its arguments."""
        name = str(node["value"])
        arguments = [self.visit(child, value) for child in node["children"]]
        lengths = sum(map(_length, arguments))
        work = (
            sum(measure_work(argument, max(0, self._budget.left)) for argument in arguments)
            if name in WALKS_ALL
            else lengths // ITEMS_PER_WORK
        )
        self._budget.charge(CALL_WORK + (4 * work if name in SORTS else work))
        return self._functions.call_function(name, arguments)


class Query:
    """A compiled query.

    `nodes` and `inputs` are what it certainly names as `steps.<id>` and `inputs.<name>`; `roots` are the names that it
    certainly looks for in the whole data, and not in a part of it.
    """

    __slots__ = ("_copies", "_functions", "_parsed", "inputs", "nodes", "roots")

    def __init__(self, parsed: ParsedResult, *, paths: tuple[tuple[str, ...], ...], copies: int) -> None:
        """Bind a parsed query to the bounded functions; use `compile_query`."""
        self._parsed = parsed
        self._copies = copies
        self._functions = BoundedFunctions()
        self.nodes = frozenset(path[1] for path in paths if path[0] == "steps" and len(path) > 1)
        self.inputs = frozenset(path[1] for path in paths if path[0] == "inputs" and len(path) > 1)
        self.roots = frozenset(path[0] for path in paths)

    def apply(self, data: object, budget: Budget | None = None) -> Any:  # noqa: ANN401  # JSON in, JSON out
        """Return the JSON value that the query selects, or None. Raises ExpressionFault, TooMuchWork.

        All expressions of a step share a budget.
        """
        budget = budget or Budget()
        with translate_errors("JMESPath"):
            result = BudgetedInterpreter(self._functions, budget).visit(self._parsed.parsed, data)
        if self._copies <= COPIES_UNWEIGHED:
            return result
        if estimate_json_size(result, budget) > LONGEST_RESULT:
            raise ExpressionFault(f"JMESPath: the result is too large. Limit: {LONGEST_RESULT} characters of JSON")
        return result


def _compile_query(source: str) -> Query:
    """Compile JMESPath. Raises ExpressionFault with the reason when it cannot be used."""
    if len(source) > LONGEST_QUERY:
        raise ExpressionFault(f"JMESPath: the query is too long. Limit: {LONGEST_QUERY} characters")
    parsed = _parse(source)
    tree = cast("_Syntax", parsed.parsed)
    copies = _copies(tree, DEEPEST_QUERY)
    if copies > MOST_COPIES:
        raise ExpressionFault(f"JMESPath: the query repeats its data too many times. Limit: {MOST_COPIES}")
    return Query(parsed, paths=tuple(_paths(tree)), copies=copies)


def _weigh(source: str) -> int:
    """Return the memory of a compiled query: 300 bytes a character of names with dots between."""
    return 2_048 + 300 * len(source)


_compiled: Final = CompiledSources(_compile_query, weigh=_weigh)


def compile_query(source: str) -> Query:
    """Return compiled JMESPath. Raises ExpressionFault with the reason when it cannot be used."""
    return _compiled(source)


def apply_query(source: str, data: object, budget: Budget) -> Any:  # noqa: ANN401  # JSON of any shape
    """Compile and apply a query. Raises ExpressionFault, TooMuchWork."""
    return compile_query(source).apply(data, budget)


def _parse(source: str) -> ParsedResult:
    try:
        with translate_errors("JMESPath"):
            return jmespath.compile(source)
    except ExpressionFault as fault:
        raise ExpressionFault(fault.message + hint_at_template(source)) from fault


def estimate_json_size(value: object, budget: Budget | None = None) -> int:
    """Return about how many characters a JSON value takes when it is encoded.

    A copy is the same object in memory and takes room only when it is encoded, so each object is measured once.
    Iterative, innermost values first. Charges a budget for each object: a list of 360,000 numbers took 0.2 s.
    """
    budget = budget or Budget()
    sizes: dict[int, int] = {}
    pending: list[object] = [value]
    while pending:
        item = pending[-1]
        children = child_values(item)
        budget.charge(1 + len(children) // ITEMS_PER_WORK)
        nested = cast("list[object]", [child for child in children if isinstance(child, (dict, list))])
        unknown = [child for child in nested if id(child) not in sizes]
        if unknown:
            pending.extend({id(child): child for child in unknown}.values())
            continue
        characters = sum(len(child) for child in children if isinstance(child, str))
        key = id(item)
        if isinstance(item, dict):
            characters += sum(map(len, cast("dict[str, object]", item)))
        sizes[key] = 2 + 3 * len(children) + characters + sum(sizes[id(child)] for child in nested)
        pending.pop()
    return len(value) if isinstance(value, str) else sizes[id(value)]


def _copies(tree: _Syntax, depth: int) -> int:
    """Return how many times the result can hold the input, at most. Raises ExpressionFault."""
    if depth == 0:
        raise ExpressionFault(f"JMESPath: the query is nested too deeply. Limit: {DEEPEST_QUERY} levels")
    if tree["type"] == "function_expression" and tree.get("value") not in KNOWN_FUNCTIONS:
        raise ExpressionFault(f"JMESPath: unknown function '{shorten(str(tree.get('value')))}'")
    children = [_copies(cast("_Syntax", child), depth - 1) for child in tree["children"] if isinstance(child, dict)]
    if tree["type"] in {"multi_select_list", "multi_select_dict", "function_expression"}:
        return min(sum(children), MOST_COPIES + 1)
    product = 1
    for copies in children:
        product = min(product * max(copies, 1), MOST_COPIES + 1)
    return product


def _paths(tree: _Syntax) -> Iterator[tuple[str, ...]]:
    """Yield the paths of names in the parts of a query that see the whole data: `steps.draft`, `inputs`.

    Within projections, filters, pipes and `&…`, names are relative to what precedes them.
    """
    children = [cast("_Syntax", child) for child in tree["children"] if isinstance(child, dict)]
    match tree["type"]:
        case "field":
            yield (str(tree.get("value")),)
        case "subexpression":
            yield from _dotted_paths(children)
        case "pipe" | "projection" | "value_projection" | "filter_projection" | "index_expression" | "flatten":
            yield from _paths(children[0])
        case "expref":
            return
        case _:
            for child in children:
                yield from _paths(child)


def _dotted_paths(children: list[_Syntax]) -> Iterator[tuple[str, ...]]:
    """Yield the paths of `a.b.c`: what follows the first part is relative to it; `@` is the whole data."""
    first, *rest = children
    if first["type"] == "current":
        yield from _dotted_paths(rest) if len(rest) > 1 else _paths(rest[0])
    elif first["type"] == "field":
        names = takewhile(lambda child: child["type"] == "field", children)
        yield tuple(str(child.get("value")) for child in names)
    else:
        yield from _paths(first)


def _length(value: object) -> int:
    if isinstance(value, str):
        return len(value) // CHARACTERS_PER_WORK
    return len(cast("Sized", value)) if isinstance(value, (list, dict)) else 1


def _is_true(value: object) -> bool:
    """Return whether a filter keeps an element: unlike in Python, 0 is true."""
    return not (value is None or value is False or value in ("", [], {}))


def _literal(value: object) -> dict[str, object]:
    return {"type": "literal", "children": [], "value": value}


def _may_be_large(value: object) -> bool:
    return isinstance(value, (str, list, dict))
