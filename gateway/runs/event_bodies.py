"""Events in responses: the same as on every other way, with the contents that they refer to beside the references."""

from collections.abc import Iterator
from typing import Any, Final, cast

import msgspec

from bus.cloudevents import Event, create_event, write_public_data
from domain.fact import Fact, get_topic
from domain.payload import Payload
from domain.runs.facts import StepItemsSettled
from gateway.http.payloads import Contents
from gateway.http.replies import encode
from store.log.identity import LogIdentity
from store.log.json_encoding import encode as encode_stored
from store.log.records import Recorded

KEPT: Final = frozenset({"value", "call"})
"""A caller's value may look like a reference; of the record of a call large values, such as reasoning, stay outside."""


def create_event_body(identity: LogIdentity, recorded: Recorded, contents: Contents) -> Event:
    """Return a fact as it is sent."""
    data = write_public_data(get_topic(type(recorded.fact)), encode_stored(recorded.fact))
    if contents:
        data = encode(_add_contents(msgspec.json.decode(data), contents))
    return create_event(identity, recorded, data)


def list_payloads(fact: Fact) -> Iterator[Payload]:
    """Yield everything in a fact that may be a reference."""
    for name in fact.__struct_fields__:
        value = getattr(fact, name)
        if isinstance(value, Payload):
            yield value
        elif isinstance(value, dict):
            items = cast("dict[str, object]", value).values()
            yield from (item for item in items if isinstance(item, Payload))
    if isinstance(fact, StepItemsSettled):
        yield from (item.output for item in fact.items)


def _add_contents(data: object, contents: Contents) -> object:
    """Return the data of an event with the `value` of each reference whose content is known."""
    if isinstance(data, list):
        return [_add_contents(item, contents) for item in cast("list[object]", data)]
    if not isinstance(data, dict):
        return data
    fields = cast("dict[str, Any]", data)
    reference = fields.get("$ref")
    if isinstance(reference, str) and reference in contents:
        return {**fields, "value": contents[reference]}
    return {name: item if name in KEPT else _add_contents(item, contents) for name, item in fields.items()}
