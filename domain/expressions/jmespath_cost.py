"""How much work a query may do, counted while it is done: JMESPath itself has no budget, and its data may be large.

`[@,@,…]|[]|[@,@,…]|[]` over half a million numbers took all memory of the process, and a wide selection from each of
100,000 objects held the process for minutes, with everybody's runs in it.
"""

from collections.abc import Callable, Sized
from typing import Any, Final, cast

from jmespath.functions import Functions
from jmespath.visitor import TreeInterpreter

from domain.expressions.budget import Budget
from domain.json_bounds import child_values

ITEMS_A_WORK: Final = 8
"""So many elements that are copied, compared or looked through count as one part."""
CHARACTERS_A_WORK: Final = 64
CALL_WORK: Final = 4
SORTS: Final = frozenset({"max_by", "min_by", "sort", "sort_by"})
WRITES: Final = frozenset({"to_string"})


class BudgetedInterpreter(TreeInterpreter):
    """Applies a query; each part of it that is applied to a value is charged, and what is copied or compared."""

    def __init__(self, functions: Functions, budget: Budget) -> None:
        """Take the functions and the budget; use `Query.apply`."""
        super().__init__()
        self._functions = functions
        self._budget = budget
        self._methods: dict[str, Callable[[Any, Any], Any]] = {}

    def visit(self, node: Any, value: Any) -> Any:  # noqa: ANN401  # the library's interface
        """Apply a part of the query. Called for each part and each element: hence no call more than is needed."""
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
        """Flatten a list, once it is known how long it becomes."""
        base = self.visit(node["children"][0], value)
        if not isinstance(base, list):
            return None
        parts = cast("list[Any]", base)
        self._budget.charge(sum(_length(part) for part in parts) // ITEMS_A_WORK + len(parts) // ITEMS_A_WORK)
        return [one for part in parts for one in (cast("list[Any]", part) if isinstance(part, list) else [part])]

    def visit_slice(self, node: Any, value: Any) -> Any:  # noqa: ANN401  # the visitor of the library, over JSON
        """Take a part of a list, which is a copy of it at most."""
        self._budget.charge(_length(value) // ITEMS_A_WORK)
        return super().visit_slice(node, value)

    def visit_comparator(self, node: Any, value: Any) -> Any:  # noqa: ANN401  # the visitor of the library, over JSON
        """Compare two values, which may be large."""
        left, right = (self.visit(child, value) for child in node["children"])
        if is_large_kind(left) and is_large_kind(right):
            self._budget.charge(min(work_of(left), work_of(right)))
        compared: Any = {"value": node["value"], "children": [_literal(left), _literal(right)]}
        return super().visit_comparator(compared, value)

    def visit_function_expression(self, node: Any, value: Any) -> Any:  # noqa: ANN401  # the visitor of the library, over JSON
        """Apply a function to its arguments; all of them walk through at most the whole of what they are given."""
        name = str(node["value"])
        arguments = [self.visit(child, value) for child in node["children"]]
        lengths = sum(_length(one) for one in arguments)
        weigh_whole = name in WRITES or name == "contains"
        work = sum(map(work_of, arguments)) if weigh_whole else lengths // ITEMS_A_WORK
        self._budget.charge(CALL_WORK + (4 * work if name in SORTS else work))
        return self._functions.call_function(name, arguments)


def is_nested(value: object) -> bool:
    """Tell whether a value is a list or an object."""
    return isinstance(value, (list, dict))


def is_large_kind(value: object) -> bool:
    """Tell whether a value is of a kind that may be large."""
    return isinstance(value, (str, list, dict))


def work_of(value: object) -> int:
    """Give the work of walking through all of a value, a part of it that stands in many places each time anew.

    Measured once for each list or object in memory, so that it costs less than the walk.
    """
    if isinstance(value, str):
        return len(value) // CHARACTERS_A_WORK
    works: dict[int, int] = {}
    pending: list[object] = [value]
    while pending:
        item = pending[-1]
        inner = child_values(item)
        nested = [one for one in inner if is_nested(one)]
        unknown = [one for one in nested if id(one) not in works]
        if unknown:
            pending.extend(unknown)
            continue
        texts = sum(len(one) for one in inner if isinstance(one, str)) // CHARACTERS_A_WORK
        known = sum(works[id(one)] for one in nested)
        works[id(item)] = 1 + len(inner) // ITEMS_A_WORK + texts + known
        pending.pop()
    return works[id(value)]


def _length(value: object) -> int:
    if isinstance(value, str):
        return len(value) // CHARACTERS_A_WORK
    return len(cast("Sized", value)) if isinstance(value, (list, dict)) else 1


def _literal(value: object) -> dict[str, object]:
    return {"type": "literal", "children": [], "value": value}
