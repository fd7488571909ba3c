"""The topic tables of docs/subscribing.md, made from the Structs: `python -m tests.support.docs.topics` prints them."""

import enum
from collections.abc import Iterator
from typing import Final, get_args

from msgspec import inspect
from msgspec.inspect import Metadata, StructType, Type, UnionType

from domain.catalogue import AnyFact
from domain.fact import topic_of
from domain.graphs.graph import Graph
from domain.payload import Payload

ELSEWHERE: Final = {Graph: "[graph](workflows.md#what-can-a-graph-contain)", Payload: "[payload](#payloads)"}
"""What the page explains in words."""

PLAIN: Final[dict[type[Type], str]] = {
    inspect.StrType: "text",
    inspect.IntType: "integer",
    inspect.FloatType: "number",
    inspect.BoolType: "boolean",
    inspect.UUIDType: "UUID",
    inspect.DateTimeType: "time",
    inspect.AnyType: "any JSON value",
    inspect.CustomType: "any JSON value",  # of `object`
}


def tables() -> str:
    """Give both tables: the topics, and the objects that their fields hold."""
    parts: dict[type, None] = {}
    topics = [_row(kind, parts) for kind in sorted(get_args(AnyFact), key=topic_of)]
    objects = [f"| `{part.__name__}` | {_fields(part, parts)} |" for part in _growing(parts)]
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


def _row(kind: type, parts: dict[type, None]) -> str:
    says = (kind.__doc__ or "").partition("\n")[0]
    return f"| `{topic_of(kind)}` | {says} | {_fields(kind, parts) or 'nothing more'} |"


def _growing(parts: dict[type, None]) -> Iterator[type]:
    """Give each part, and those that are found while the ones before are written."""
    done = 0
    while done < len(parts):
        yield list(parts)[done]
        done += 1


def _fields(kind: type, parts: dict[type, None]) -> str:
    found = inspect.type_info(kind)
    assert isinstance(found, StructType)
    return ", ".join(_field(field, parts) for field in found.fields)


def _field(field: inspect.Field, parts: dict[type, None]) -> str:
    """Write a field; one with a default is left out of the data where it has that value."""
    nullable = isinstance(field.type, UnionType) and field.type.includes_none
    after = " or null" if field.required and nullable else ""
    return f"`{field.encode_name}`{'' if field.required else '?'} {_words(field.type, parts)}{after}"


def _words(found: Type, parts: dict[type, None]) -> str:
    match found:
        case Metadata(type=inner, extra={"personal": True}):
            return f"personal {_words(inner, parts)}"
        case Metadata(type=inner):
            return _words(inner, parts)
        case UnionType(types=types):
            return " or ".join(_words(one, parts) for one in types if not isinstance(one, inspect.NoneType))
        case StructType(cls=cls) if cls in ELSEWHERE:
            return ELSEWHERE[cls]
        case StructType(cls=cls):
            parts[cls] = None
            return f"`{cls.__name__}`"
        case inspect.EnumType(cls=cls):
            return _choices(cls)
        case inspect.DictType(value_type=inspect.CustomType()):
            return "object"
        case inspect.DictType(key_type=key, value_type=inner):
            return f"object of {_words(inner, parts)} by {_words(key, parts)}"
        case inspect.VarTupleType(item_type=inner) | inspect.ListType(item_type=inner):
            return f"list of {_words(inner, parts)}"
        case _:
            return PLAIN[type(found)]


def _choices(kind: type[enum.Enum]) -> str:
    return " / ".join(f"`{one.value}`" for one in kind)


if __name__ == "__main__":
    print(tables())  # noqa: T201  # what it is for
