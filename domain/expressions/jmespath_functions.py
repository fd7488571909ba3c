"""The functions of queries: the standard ones of JMESPath, bounded where they multiply, and some of ours.

Ours are `split`, `slice`, `group_by`, `index_by` and `zip`. Of these `split`, `group_by` and `zip` are as in the
community's JMESPath.
"""

from collections.abc import Callable
from typing import Any, Final, cast

from jmespath.functions import Functions, signature

from domain.expressions.common import ExpressionFault

LONGEST_JOIN: Final = 10_000_000
MOST_PARTS: Final = 100_000
NAMES: Final[dict[type, str]] = {
    type(None): "null",
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "an object",
}


def name_type(value: object) -> str:
    """Return what a JSON value is, for a message."""
    return NAMES.get(type(value), type(value).__name__)


class BoundedFunctions(Functions):
    """The functions that queries may call."""

    @signature({"types": ["string"]}, {"types": ["array-string"]})
    def _func_join(self, separator: str, strings: list[str]) -> str:
        if len(separator) * len(strings) + sum(map(len, strings)) > LONGEST_JOIN:
            raise ExpressionFault(f"JMESPath: the result of join is too long. Limit: {LONGEST_JOIN} characters")
        return separator.join(strings)

    @signature({"types": ["string"]}, {"types": ["string"]})
    def _func_split(self, text: str, separator: str) -> list[str]:
        """Return the parts of a text between separators; its characters where the separator is empty."""
        parts = text.count(separator) + 1 if separator else len(text)
        if parts > MOST_PARTS:
            raise ExpressionFault(f"JMESPath: split gives {parts} parts. Limit: {MOST_PARTS}")
        return text.split(separator) if separator else list(text)

    @signature({"types": ["string", "array"]}, {"types": ["number"]}, {"types": ["number"]})
    def _func_slice(self, value: Any, begin: float, end: float) -> Any:  # noqa: ANN401  # a text or a list
        """Return the part of a text or a list from one place to before another; negative places count from the end."""
        if begin != int(begin) or end != int(end):
            raise ExpressionFault("JMESPath: slice takes integers as its places")
        return value[int(begin) : int(end)]

    @signature({"types": ["array"]}, {"types": ["expref"]})
    def _func_group_by(self, items: list[Any], key: Any) -> dict[str, list[Any]]:  # noqa: ANN401  # JSON, and `&…`
        """Return the items by their key, which must be a text; those without one (null) are left out."""
        groups: dict[str, list[Any]] = {}
        for name, item in self._iterate_keys("group_by", items, key):
            groups.setdefault(name, []).append(item)
        return groups

    @signature({"types": ["array"]}, {"types": ["expref"]})
    def _func_index_by(self, items: list[Any], key: Any) -> dict[str, Any]:  # noqa: ANN401  # JSON, and `&…`
        """Return one item for each key, which must be a text; the last item of a key stays."""
        return dict(self._iterate_keys("index_by", items, key))

    @signature({"types": ["array"], "variadic": True})
    def _func_zip(self, *lists: list[Any]) -> list[list[Any]]:
        """Return the first items of all lists, the second ones, and so on, until the shortest ends."""
        return [list(items) for items in zip(*lists, strict=False)]

    @staticmethod
    def _iterate_keys(name: str, items: list[Any], key: Any) -> list[tuple[str, Any]]:  # noqa: ANN401  # JSON, and `&…`
        evaluate = cast("Callable[[Any, Any], Any]", key.visit)
        found: list[tuple[str, Any]] = []
        for item in items:
            value = evaluate(key.expression, item)
            if value is None:
                continue
            if not isinstance(value, str):
                message = f"JMESPath: the key of {name} must be a text, and is {name_type(value)}; use to_string()"
                raise ExpressionFault(message)
            found.append((value, item))
        return found
