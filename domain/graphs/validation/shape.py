"""Validation of JSON against Structs: all problems at once, each with a JSON pointer.

msgspec stops at the first problem. Here structs, lists and objects are walked along the same type hints, and msgspec
validates the leaves, so that there is one source of types and bounds.
"""

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from functools import lru_cache
from itertools import islice
from types import UnionType
from typing import Annotated, Any, Final, Literal, NamedTuple, Union, cast, get_args, get_origin

import msgspec
from msgspec import Meta, Struct, UnsetType
from msgspec.structs import fields

from domain.expressions.common import shorten
from domain.suggestions import format_names, suggest_name

FAULTS_MAX: Final = 200
"""Faults of one list or object after which no further ones are searched for."""


class Fault(NamedTuple):
    """A problem at a path of keys and indexes."""

    path: tuple[str | int, ...]
    message: str


Faults = Sequence[Fault]
Checker = Callable[[object], Faults]
"""Returns the problems of a value; for a valid value an empty tuple, without any other work."""


def format_pointer(path: Iterable[str | int]) -> str:
    """Write a path as a JSON pointer (RFC 6901, section 3)."""
    return "".join(f"/{shorten(str(key)).replace('~', '~0').replace('/', '~1')}" for key in path)


@lru_cache(maxsize=256)
def build_checker(hint: Any) -> Checker:  # noqa: ANN401  # a type hint, which has no type of its own
    """Return the checker of a type hint."""
    inner, bounds = _split_annotation(hint)
    origin = get_origin(inner)
    if isinstance(inner, type) and issubclass(inner, Struct):
        return _struct_checker(inner)
    if origin in {Union, UnionType}:
        return _union_checker(get_args(inner))
    if origin is tuple:
        return _list_checker(build_checker(get_args(inner)[0]), bounds)
    if origin is dict and get_args(inner)[1] is not Any:
        return _object_checker(build_checker(get_args(inner)[0]), build_checker(get_args(inner)[1]), bounds)
    words = _enum_values(inner)
    return _enum_checker(words) if words else _leaf_checker(hint)


def _split_annotation(hint: Any) -> tuple[Any, list[Meta]]:  # noqa: ANN401  # a type hint
    if get_origin(hint) is not Annotated:
        return hint, []
    inner, *notes = get_args(hint)
    return inner, [note for note in notes if isinstance(note, Meta)]


def _enum_values(hint: Any) -> tuple[str, ...]:  # noqa: ANN401  # a type hint
    """Return the words of an enumeration or of a Literal; none for other types."""
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return tuple(hint)
    return tuple(map(str, get_args(hint))) if get_origin(hint) is Literal else ()


def _enum_checker(words: tuple[str, ...]) -> Checker:
    def check(value: object) -> Faults:
        if not isinstance(value, str):
            return (Fault((), f"{_type_fault('str', value).message}. Supported: {format_names(words)}"),)
        if value in words:
            return ()
        supported = format_names(words) + suggest_name(value, words)
        return (Fault((), f"Unknown value '{shorten(value)}'. Supported: {supported}"),)

    return check


def _leaf_checker(hint: Any) -> Checker:  # noqa: ANN401  # a type hint
    extras = [cast("dict[str, object]", bound.extra or {}) for bound in _split_annotation(hint)[1]]
    rule = next((str(extra["rule"]) for extra in extras if "rule" in extra), "")

    def check(value: object) -> Faults:
        try:
            msgspec.convert(value, hint)
        except msgspec.ValidationError as fault:
            message = str(fault).split(" - at `", maxsplit=1)[0]
            return (Fault((), rule if rule and "matching regex" in message else message),)
        return ()

    return check


def _struct_checker(struct: type[Struct]) -> Checker:
    known = {entry.encode_name: build_checker(entry.type) for entry in fields(struct)}
    required = [entry.encode_name for entry in fields(struct) if entry.required]
    tag_field = struct.__struct_config__.tag_field

    def check(value: object) -> Faults:
        if not isinstance(value, dict):
            return (_type_fault("object", value),)
        sent = cast("dict[str, object]", value)
        found = [Fault((name,), "Required field is missing") for name in required if name not in sent]
        for name, item in sent.items():
            if name in known:
                found.extend(_at(name, known[name](item)))
            elif name != tag_field:
                supported = format_names(known) + suggest_name(name, known)
                found.append(Fault((name,), f"Unknown field. Supported: {supported}"))
            if len(found) >= FAULTS_MAX:
                break
        return found

    return check


def _union_checker(members: tuple[Any, ...]) -> Checker:
    optional = type(None) in members
    others = [member for member in members if member not in {type(None), UnsetType}]
    check_others = build_checker(others[0]) if len(others) == 1 else _tagged_checker(others)

    def check(value: object) -> Faults:
        return () if value is None and optional else check_others(value)

    return check


def _tagged_checker(members: list[type[Struct]]) -> Checker:
    tag_field = str(members[0].__struct_config__.tag_field)
    by_tag = {str(member.__struct_config__.tag): build_checker(member) for member in members}

    def check(value: object) -> Faults:
        if not isinstance(value, dict):
            return (_type_fault("object", value),)
        tag = cast("dict[str, object]", value).get(tag_field)
        if isinstance(tag, str) and tag in by_tag:
            return by_tag[tag](cast("object", value))
        if not isinstance(tag, str):
            return (Fault((tag_field,), f"Required field is missing. Supported: {format_names(by_tag)}"),)
        message = f"Unknown {tag_field} '{shorten(tag)}'. Supported: {format_names(by_tag)}{suggest_name(tag, by_tag)}"
        return (Fault((tag_field,), message),)

    return check


def _list_checker(check_item: Checker, bounds: list[Meta]) -> Checker:
    # Items beyond the allowed length are not looked at: 340,000 wrong ones took a second.
    longest = min((bound.max_length for bound in bounds if bound.max_length is not None), default=None)

    def check(value: object) -> Faults:
        if not isinstance(value, list):
            return (_type_fault("array", value),)
        items = cast("list[object]", value)
        found = _length_faults(len(items), bounds)
        for index, item in enumerate(islice(items, longest)):
            found.extend(_at(index, check_item(item)))
            if len(found) >= FAULTS_MAX:
                break
        return found

    return check


def _object_checker(check_key: Checker, check_value: Checker, bounds: list[Meta]) -> Checker:
    def check(value: object) -> Faults:
        if not isinstance(value, dict):
            return (_type_fault("object", value),)
        sent = cast("dict[str, object]", value)
        found = _length_faults(len(sent), bounds)
        for key, item in sent.items():
            found.extend(_at(key, (*check_key(key), *check_value(item))))
            if len(found) >= FAULTS_MAX:
                break
        return found

    return check


def _at(key: str | int, faults: Faults) -> Faults:
    return [Fault((key, *fault.path), fault.message) for fault in faults] if faults else ()


def _length_faults(length: int, bounds: list[Meta]) -> list[Fault]:
    found: list[Fault] = []
    for bound in bounds:
        if bound.min_length is not None and length < bound.min_length:
            found.append(Fault((), f"Expected at least {bound.min_length} items, got {length}"))
        if bound.max_length is not None and length > bound.max_length:
            found.append(Fault((), f"Expected at most {bound.max_length} items, got {length}"))
    return found


def _type_fault(expected: str, value: object) -> Fault:
    names: dict[type, str] = {dict: "object", list: "array", type(None): "null"}
    return Fault((), f"Expected `{expected}`, got `{names.get(type(value), type(value).__name__)}`")
