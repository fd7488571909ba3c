"""The table for people: the same figures as the JSON, in lines that fit a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec
from msgspec import Struct

Pairs = Mapping[str, Any]


def text(result: Struct) -> str:
    """Write a result: what is nested as a block, lists of figures as tables, in the order of the fields."""
    fields: dict[str, Any] = msgspec.to_builtins(result, str_keys=True)
    return "\n\n".join(_block(name, value) for name, value in fields.items())


def _block(name: str, value: Any) -> str:  # noqa: ANN401  # any JSON value
    match value:
        case dict():
            return f"{name}\n{_pairs(cast('Pairs', value))}"
        case [dict(), *_]:
            return f"{name}\n{_table(value)}"
        case _:
            return f"{name}: {_cell(value)}"


def _pairs(pairs: Pairs) -> str:
    width = max((len(name) for name in pairs), default=0)
    return "\n".join(f"  {name:<{width}}  {_cell(value)}" for name, value in pairs.items())


def _table(rows: Sequence[Pairs]) -> str:
    lines = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  " + "  ".join(f"{c:>{w}}" for c, w in zip(line, widths, strict=True)) for line in lines)


def _cell(value: Any) -> str:  # noqa: ANN401  # any JSON value
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "NO"
        case float():
            return f"{value:,.2f}"
        case int():
            return f"{value:,}"
        case dict():
            return ", ".join(f"{name} {_cell(inner)}" for name, inner in cast("Pairs", value).items())
        case _:
            return str(value)
