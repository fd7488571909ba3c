"""The topic tables of docs/subscribing.md, made from the Structs: `python -m tests.support.docs.topics` prints them."""

import enum
from collections.abc import Iterator
from typing import Final, get_args

from msgspec import inspect
from msgspec.inspect import Metadata, StructType, Type, UnionType

from domain.catalogue import AnyFact
from domain.fact import get_topic
from domain.payload import Payload

GRAPH: Final = "[graph](workflows.md#what-can-a-graph-contain)"
ELSEWHERE: Final = {Payload: "[payload](#payloads)"}
"""What the page explains in words."""

PLAIN: Final[dict[type[Type], str]] = {
    inspect.StrType: "text",
    inspect.IntType: "integer",
    inspect.FloatType: "number",
    inspect.BoolType: "boolean",
    inspect.UUIDType: "id",
    inspect.DateTimeType: "time",
    inspect.AnyType: "any JSON value",
    inspect.CustomType: "any JSON value",  # of `object`
}


def format_tables() -> str:
    """Return both tables: the topics, and the objects in their fields."""
    parts: dict[type, None] = {}
    topics = [_format_row(kind, parts) for kind in sorted(get_args(AnyFact), key=get_topic)]
    objects = [f"| `{part.__name__}` | {_format_fields(part, parts)} |" for part in _iterate_growing(parts)]
    lines = [
        "| topic | says | data |",
        "|---|---|---|",
        *topics,
        "",
        "| object | holds |",
        "|---|---|",
        *sorted(objects),
    ]
    return "\n".join(lines)


def _format_row(kind: type, parts: dict[type, None]) -> str:
    says = (kind.__doc__ or "").partition("\n")[0]
    return f"| `{get_topic(kind)}` | {says} | {_format_fields(kind, parts) or 'nothing more'} |"


def _iterate_growing(parts: dict[type, None]) -> Iterator[type]:
    """Yield each part, including those added while earlier ones are formatted."""
    done = 0
    while done < len(parts):
        yield list(parts)[done]
        done += 1


def _format_fields(kind: type, parts: dict[type, None]) -> str:
    found = inspect.type_info(kind)
    assert isinstance(found, StructType)
    return ", ".join(_format_field(field, parts) for field in found.fields)


def _format_field(field: inspect.Field, parts: dict[type, None]) -> str:
    """Format a field. Fields with a default are omitted from `data` if they have it."""
    nullable = isinstance(field.type, UnionType) and field.type.includes_none
    after = " or null" if field.required and nullable else ""
    return f"`{field.encode_name}`{'' if field.required else '?'} {_format_type(field.type, parts)}{after}"


def _format_type(found: Type, parts: dict[type, None]) -> str:
    match found:
        case Metadata():
            return _format_marked(found, parts)
        case UnionType(types=types):
            return " or ".join(
                _format_type(member, parts) for member in types if not isinstance(member, inspect.NoneType)
            )
        case StructType(cls=cls) if cls in ELSEWHERE:
            return ELSEWHERE[cls]
        case StructType(cls=cls):
            parts[cls] = None
            return f"`{cls.__name__}`"
        case inspect.EnumType(cls=cls):
            return _format_choices(cls)
        case inspect.DictType(value_type=inspect.CustomType()):
            return "object"
        case inspect.DictType(key_type=key, value_type=inner):
            return f"object of {_format_type(inner, parts)} by {_format_type(key, parts)}"
        case inspect.VarTupleType(item_type=inner) | inspect.ListType(item_type=inner):
            return f"list of {_format_type(inner, parts)}"
        case _:
            return PLAIN[type(found)]


def _format_marked(found: Metadata, parts: dict[type, None]) -> str:
    match found:
        case Metadata(extra={"graph": True}):
            return GRAPH
        case Metadata(type=inner, extra={"personal": True}):
            return f"personal {_format_type(inner, parts)}"
        case _:
            return _format_type(found.type, parts)


def _format_choices(kind: type[enum.Enum]) -> str:
    return " / ".join(f"`{member.value}`" for member in kind)


if __name__ == "__main__":
    print(format_tables())  # noqa: T201  # what it is for
