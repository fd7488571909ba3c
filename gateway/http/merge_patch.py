"""JSON Merge Patch (RFC 7396), as far as our bodies need it: the object-valued fields are merged, others replaced."""

from typing import Any, cast

from msgspec import UNSET, UnsetType


def merged(target: object, change: object) -> object:
    """Give a JSON value after a merge patch: null removes, objects are merged, all else replaces.

    Recursive as the RFC's own pseudocode: depth is bounded when a body is read.
    """
    if not isinstance(change, dict):
        return change
    result = dict(cast("dict[str, object]", target)) if isinstance(target, dict) else {}
    for name, value in cast("dict[str, object]", change).items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def merged_object(target: dict[str, Any], change: dict[str, Any] | UnsetType | None) -> dict[str, Any] | UnsetType:
    """Give an object after a merge patch of it; null empties it, and what is absent changes nothing."""
    if isinstance(change, UnsetType):
        return UNSET
    return {} if change is None else cast("dict[str, Any]", merged(target, change))
