"""Printing of events for operators: a line for people, an envelope for programs, with contents if requested."""

from collections.abc import Iterator
from typing import Any, Final, cast
from uuid import UUID

import msgspec

from bus.cloudevents import encode_envelope
from callsheet.operate.printing import escape_controls
from domain.ids import to_uuid
from store.contents import GET, JSON, REFERENCE
from store.errors import UnreadableEvent
from store.log.codec import decode_fact
from store.log.identity import LogIdentity
from store.log.raw_reads import Connection
from store.log.records import StoredEvent

HIDDEN_FIELDS: Final = frozenset({"fact"})
MESSAGE_CHARACTERS_MAX: Final = 160
"""An error says more than other fields may, since it is what a line of a failure is read for."""
VALUE_CHARACTERS_MAX: Final = 60
PREFIXES: Final = ("prj", "wf", "ast", "run", "key", "ann")


def format_event_line(identity: LogIdentity, stored: StoredEvent) -> str:
    """Write an event as one line: position, time, topic, stream with version, its short fields, and why it failed."""
    envelope = build_envelope(identity, stored)
    at = f"{stored.recorded_at:%Y-%m-%d %H:%M:%S.%f}"[:-3]
    stream = f"{envelope['subject']} v{stored.version}"
    said = _summarize_fields(stored, envelope)
    line = f"{stored.position:>9}  {at}Z  {stored.topic:<22}  {stream:<35}  {said}".rstrip()
    return escape_controls(line, kept="")


def build_envelope(identity: LogIdentity, stored: StoredEvent) -> dict[str, Any]:
    """Return the CloudEvents envelope that subscribers receive, as a JSON object."""
    return cast("dict[str, Any]", msgspec.json.decode(encode_envelope(identity, stored)))


def find_decoding_error(stored: StoredEvent) -> str | None:
    """Return why this version cannot decode an event; None if it can."""
    try:
        decode_fact(stored.position, stored.topic, stored.state_format, stored.key_id, stored.state)
    except UnreadableEvent as fault:
        return str(fault)
    return None


def _summarize_fields(stored: StoredEvent, envelope: dict[str, Any]) -> str:
    if find_decoding_error(stored) is not None:
        return "(this version cannot read it)"
    fields = cast("dict[str, Any]", envelope["data"])
    short = (f"{name}={_format_value(value)}" for name, value in fields.items() if _is_short(name, value))
    return " ".join((*short, *_summarize_error(fields.get("error"))))


def _summarize_error(error: object) -> Iterator[str]:
    """Yield why something failed, as `expression: Liquid: inputs.x is undefined`."""
    if not isinstance(error, dict):
        return
    said = cast("dict[str, Any]", error)
    yield f"{_format_value(said.get('error_class'))}: {_truncate(str(said.get('message', '')), MESSAGE_CHARACTERS_MAX)}"


def _is_short(name: str, value: object) -> bool:
    return name not in HIDDEN_FIELDS and not name.endswith("_at") and isinstance(value, str | int | float)


def _format_value(value: object) -> str:
    text = value if isinstance(value, str) and " " not in value else msgspec.json.encode(value).decode()
    return _truncate(text, VALUE_CHARACTERS_MAX)


def _truncate(text: str, characters_max: int) -> str:
    return text if len(text) <= characters_max else f"{text[:characters_max]}…"


async def resolve_contents(connection: Connection, workspace_id: UUID, value: Any) -> Any:  # noqa: ANN401  # JSON
    """Return the data of a fact with the content added to each `{"$ref": …}`; a pruned content is left out.

    What a caller sent is one level down, under `value`, and is never resolved as a reference.
    """
    match value:
        case {"$ref": str(reference)}:
            return await _read_content(connection, workspace_id, reference, value)
        case dict():
            fields = cast("dict[str, Any]", value).items()
            return {
                name: field if name == "value" else await resolve_contents(connection, workspace_id, field)
                for name, field in fields
            }
        case list():
            items = cast("list[Any]", value)
            return [await resolve_contents(connection, workspace_id, item) for item in items]
        case _:
            return value


async def _read_content(connection: Connection, workspace_id: UUID, reference: str, payload: Any) -> Any:  # noqa: ANN401  # JSON
    parsed = REFERENCE.fullmatch(reference)
    if parsed is None:
        return payload
    cursor = await connection.cursor(binary=True).execute(GET, (workspace_id, bytes.fromhex(parsed[1])))
    row = await cursor.fetchone()
    if row is None:
        return payload
    content, media_type = row
    return {**payload, "value": msgspec.json.decode(content) if media_type == JSON else content}


def parse_stream_id(text: str) -> UUID:
    """Read the id of a stream of any kind, or a plain UUID. Raises ValueError."""
    for prefix in PREFIXES:
        if text.startswith(f"{prefix}_"):
            return to_uuid(prefix, text)
    try:
        return UUID(text)
    except ValueError:
        forms = ", ".join(f"{prefix}_…" for prefix in PREFIXES)
        raise ValueError(f"'{text[:90]}' is neither an id of the form {forms} nor a UUID") from None
