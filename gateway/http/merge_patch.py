"""JSON Merge Patch (RFC 7396)."""

from typing import Any, cast

from msgspec import UNSET, UnsetType


def apply_patch(target: object, change: object) -> object:
    """Return a JSON value after a merge patch: null removes, objects are merged, everything else replaces.

    Recursive like the pseudocode of the RFC: depth is bounded when a body is read.
    """
    if not isinstance(change, dict):
        return change
    result = dict(cast("dict[str, object]", target)) if isinstance(target, dict) else {}
    for name, value in cast("dict[str, object]", change).items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = apply_patch(result.get(name), value)
    return result


def patch_object(target: dict[str, Any], change: dict[str, Any] | UnsetType | None) -> dict[str, Any] | UnsetType:
    """Return an object after a merge patch: null empties it, UNSET leaves it unchanged."""
    if isinstance(change, UnsetType):
        return UNSET
    return {} if change is None else cast("dict[str, Any]", apply_patch(target, change))
