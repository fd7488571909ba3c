"""Query parameters: declared as the fields of a Struct, and parsed with every problem reported at once."""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Annotated, Any, Final, Generic, TypeVar, cast
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec
from msgspec import Meta, Struct
from msgspec import inspect as mi

from domain.ids import Prefix
from domain.suggestions import find_similar
from gateway.http.ids import parse_id
from gateway.http.rejections import Malformed, ParameterProblem
from gateway.operations.paging import CursorCodec, EncodedCursor, PageRequest, compute_list_tag
from gateway.operations.positions import PositionCodec
from projections.runtime.paging import Cursor, Sort

Q = TypeVar("Q", bound=Struct)
Parse = Callable[[str], object]
"""Parses the text of a parameter. Raises ValueError with what the value must be, after the parameter's name."""

HIDDEN_VALUE: Final = "absent"
"""The status that every aggregate has before its first fact; nothing can be requested by it."""
NAME_LENGTH_MAX: Final = 100
PROBLEMS_MAX: Final = 50
DIGITS: Final = re.compile("[0-9]{1,9}")
NUMBER: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
YEARS: Final = range(1970, 9001)
"""Far from the ends of Python's calendar, since the time before a window is read as well."""

Limit = Annotated[int, Meta(extra={"parameter": "limit"}, description="How many items a page has at most.")]
LogPosition = Annotated[int, Meta(extra={"parameter": "position"})]
VersionNumber = Annotated[int, Meta(extra={"parameter": "version"})]
ProjectId = Annotated[UUID, Meta(extra={"parameter": "prj"})]
WorkflowId = Annotated[UUID, Meta(extra={"parameter": "wf"})]
RunId = Annotated[UUID, Meta(extra={"parameter": "run"})]


class QueryParameter(Struct, frozen=True, kw_only=True):
    """One query parameter.

    `kind` is text, time, number, limit, cursor, position, version, choice (one of `choices`), or the prefix of an id.
    """

    name: str
    kind: str
    choices: type[Enum] | None = None
    description: str = ""

    @property
    def values(self) -> tuple[str, ...]:
        """Return the values of a choice that callers may send."""
        return tuple(str(member.value) for member in self.choices or () if member.value != HIDDEN_VALUE)


PAGE_PARAMETERS: Final = (
    QueryParameter(name="limit", kind="limit", description="How many items a page has at most."),
    QueryParameter(name="cursor", kind="cursor", description="`next_cursor` of the page before."),
    QueryParameter(name="sort", kind="choice", choices=Sort, description="The order; `-` is descending."),
)


def describe_query(query: type[Struct] | None) -> tuple[QueryParameter, ...]:
    """Return the parameters that a query Struct declares."""
    if query is None:
        return ()
    return tuple(parameter for field in _inspect_fields(query) for parameter in _describe_field(field))


def _inspect_fields(query: type[Struct]) -> tuple[mi.Field, ...]:
    return cast("mi.StructType", mi.type_info(query)).fields


def _describe_field(field: mi.Field) -> tuple[QueryParameter, ...]:
    kind, extra, description = _unwrap(field.type)
    name = field.encode_name
    match kind:
        case mi.StructType(cls=cls) if cls is PageRequest:
            return PAGE_PARAMETERS
        case mi.EnumType(cls=cls):
            return (QueryParameter(name=name, kind="choice", choices=cls, description=description),)
        case mi.StrType():
            return (QueryParameter(name=name, kind="text", description=description),)
        case mi.DateTimeType():
            return (QueryParameter(name=name, kind="time", description=description),)
        case mi.FloatType():
            return (QueryParameter(name=name, kind="number", description=description),)
        case mi.IntType() | mi.UUIDType() if "parameter" in extra:
            return (QueryParameter(name=name, kind=str(extra["parameter"]), description=description),)
        case _:
            raise TypeError(f"the type of the query parameter {name} is not supported")


def _unwrap(kind: mi.Type) -> tuple[mi.Type, Mapping[str, object], str]:
    """Return a type without None and metadata, its extra metadata, and its description."""
    if isinstance(kind, mi.UnionType):
        (kind,) = (member for member in kind.types if not isinstance(member, mi.NoneType))
    if isinstance(kind, mi.Metadata):
        schema = cast("dict[str, object]", kind.extra_json_schema or {})
        return kind.type, cast("dict[str, object]", kind.extra or {}), str(schema.get("description", ""))
    return kind, {}, ""


class QueryReader(Generic[Q]):
    """Parses the query of one operation into its Struct."""

    def __init__(
        self, query: type[Q] | None, positions: PositionCodec, cursors: CursorCodec, *, items: int, items_max: int
    ) -> None:
        """Create a reader; a page has `items` by default and `items_max` at most. None declares no parameters."""
        self._query = query
        self._items = items
        self._fields = {} if query is None else {field.encode_name: field.name for field in _inspect_fields(query)}
        parameters = describe_query(query)
        self._paged = set(PAGE_PARAMETERS) <= set(parameters)
        self._parsers = {
            parameter.name: _create_parser(parameter, positions, cursors, items_max) for parameter in parameters
        }
        self._empty = self._create({}, "", {})

    def read(self, query_string: bytes, path: str) -> tuple[Q, dict[str, str]]:
        """Parse the query of a path; return it with the texts of its parameters.

        Raises Malformed with every unknown, repeated or malformed parameter, CursorReset.
        """
        if not query_string:
            return self._empty, {}
        texts: dict[str, str] = {}
        problems: dict[str, str] = {}
        for name, text in parse_qsl(query_string.decode("latin-1"), keep_blank_values=True):
            if name not in self._parsers:
                problems[name] = self._describe_unknown(name)
            elif name in texts or "\0" in text:
                problems[name] = f"`{name}` must be sent once, without NUL characters."
            texts[name] = text
        values: dict[str, object] = {}
        for name, text in texts.items():
            if name not in problems:
                try:
                    values[name] = self._parsers[name](text)
                except ValueError as fault:
                    problems[name] = write_sentence(name, str(fault))
        if problems:
            raise malformed_query(problems)
        return self._create(values, path, texts), texts

    def _describe_unknown(self, name: str) -> str:
        shown = sanitize_name(name)
        if not self._parsers:
            return f"Unknown query parameter `{shown}`. This operation has none."
        supported = ", ".join(f"`{known}`" for known in self._parsers)
        return f"Unknown query parameter `{shown}`. Supported: {supported}.{suggest(name, self._parsers)}"

    def _create(self, values: dict[str, Any], path: str, texts: Mapping[str, str]) -> Q:
        if self._query is None:
            return cast("Q", None)
        fields = {self._fields[name]: value for name, value in values.items() if name in self._fields}
        if self._paged:
            fields["page"] = self._create_page(values, path, texts)
        return self._query(**fields)

    def _create_page(self, values: dict[str, Any], path: str, texts: Mapping[str, str]) -> PageRequest:
        sent: EncodedCursor | None = values.get("cursor")
        sort: Sort | None = values.get("sort")
        limit: int = values.get("limit", self._items)
        if sent is None:
            return PageRequest(limit=limit, sort=sort or Sort.NEWEST, cursor=None)
        if sent.list_tag != compute_list_tag(path, texts):
            raise malformed_parameter("cursor", "must be a `next_cursor` of this list, with the same filters")
        if sort is not None and sent.sort is not sort:
            raise malformed_parameter("cursor", f"belongs to a list with `sort={sent.sort.value}`")
        return PageRequest(limit=limit, sort=sent.sort, cursor=Cursor(sent.sort, sent.after))


def _create_parser(parameter: QueryParameter, positions: PositionCodec, cursors: CursorCodec, items_max: int) -> Parse:
    match parameter.kind:
        case "text":
            return str
        case "time":
            return parse_time
        case "number":
            return parse_number
        case "position":
            return lambda text: positions.decode(text) if text else None
        case "cursor":
            return cursors.decode
        case "version":
            return _parse_version
        case "limit":
            return lambda text: _parse_limit(text, items_max)
        case "choice":
            return _create_choice_parser(parameter)
        case prefix:
            return _create_id_parser(cast("Prefix", prefix))


def _parse_limit(text: str, items_max: int) -> int:
    if not DIGITS.fullmatch(text) or not 1 <= int(text) <= items_max:
        raise ValueError(f"must be an integer from 1 to {items_max}")
    return int(text)


def _parse_version(text: str) -> int:
    if not DIGITS.fullmatch(text):
        raise ValueError("must be a `next_cursor` of this list")
    return int(text)


def _create_choice_parser(parameter: QueryParameter) -> Parse:
    members = {member.value: member for member in parameter.choices or () if member.value in parameter.values}
    allowed = ", ".join(f"`{value}`" for value in members)

    def parse(text: str) -> Enum:
        member = members.get(text)
        if member is None:
            raise ValueError(f"must be one of {allowed}.{suggest(text, members)}")
        return member

    return parse


def _create_id_parser(prefix: Prefix) -> Parse:
    def parse(text: str) -> UUID:
        try:
            return parse_id(prefix, text)
        except ValueError:
            raise ValueError(f"must be an id that starts with `{prefix}_`") from None

    return parse


def parse_time(text: str) -> datetime:
    """Parse a time with its zone (RFC 3339). Raises ValueError."""
    try:
        at = msgspec.convert(text.replace(" ", "+"), datetime, strict=False)  # `+` decodes to a space in a query
    except msgspec.ValidationError:
        raise ValueError("must be an RFC 3339 time such as `2026-05-01T12:00:00Z`") from None
    if at.tzinfo is None:
        raise ValueError("must have a time zone, such as `2026-05-01T12:00:00Z`")
    if at.year not in YEARS:
        raise ValueError(f"must be in the years {YEARS[0]} to {YEARS[-1]}")
    return at.astimezone(UTC)


def parse_number(text: str) -> float:
    """Parse a positive decimal number such as `8` or `0.5`. Raises ValueError."""
    if not NUMBER.fullmatch(text) or float(text) == 0:
        raise ValueError("must be a positive number such as `8` or `0.5`")
    return float(text)


def malformed_parameter(name: str, message: str) -> Malformed:
    """Return the rejection of one parameter; `message` continues the sentence after its name."""
    return malformed_query({name: write_sentence(name, message)})


def malformed_query(problems: Mapping[str, str]) -> Malformed:
    """Return the rejection of a query, with a whole sentence for each parameter that is wrong."""
    errors = tuple(
        ParameterProblem(sanitize_name(name), message) for name, message in sorted(problems.items())[:PROBLEMS_MAX]
    )
    more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
    return Malformed(f"{errors[0].message}{more}", problems=errors)


def sanitize_name(name: str) -> str:
    """Return the name of a parameter for a message: bounded, and encodable as UTF-8."""
    return name[:NAME_LENGTH_MAX].encode(errors="replace").decode()


def write_sentence(name: str, message: str) -> str:
    """Return a sentence about a parameter; `message` continues it after the name."""
    return f"`{name}` {message}{'' if message.endswith(('.', '?')) else '.'}"


def suggest(name: str, known: Iterable[str]) -> str:
    """Return a sentence with the known name that is most similar, empty if none is."""
    similar = find_similar(name, known)
    return f" Did you mean `{similar}`?" if similar is not None else ""
