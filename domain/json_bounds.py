"""Bounds on JSON data: depth, number of values, and length of one list or object."""

from collections.abc import Collection
from typing import Final, cast

JSON_DEPTH_MAX: Final = 100


def is_within_bounds(data: object, *, items_max: int, length_max: int, depth_max: int = JSON_DEPTH_MAX) -> bool:
    """Return whether JSON data is within bounds: total number of values, values in one list or object, and depth.

    Walks level by level instead of recursing: deep data would exhaust the stack (inside of the CEL library this ends
    the process).
    """
    level = [data]
    items_seen = 0
    for _ in range(depth_max):
        next_level: list[object] = []
        count = 0
        for item in level:
            children = child_values(item)
            if len(children) > length_max:
                return False
            count += len(children)
            next_level.extend(cast("list[object]", [child for child in children if isinstance(child, (dict, list))]))
        if not count:
            return True
        items_seen += count
        if items_seen > items_max:
            return False
        level = next_level
    return False


def find_integer_beyond(data: object, *, bits: int) -> int | None:
    """Return an integer of JSON data that a signed integer of so many bits cannot hold, None if there is none."""
    limit = 1 << (bits - 1)
    pending = [data]
    while pending:
        item = pending.pop()
        if isinstance(item, int) and not -limit <= item < limit:
            return item
        pending.extend(child_values(item))
    return None


def child_values(value: object) -> Collection[object]:
    """Return the values in a list or an object; an empty collection for any other JSON value."""
    if isinstance(value, dict):
        return cast("dict[str, object]", value).values()
    return cast("list[object]", value) if isinstance(value, list) else ()
