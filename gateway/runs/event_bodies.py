"""Response bodies of a run's events, in JSON pages and event streams."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from msgspec import Struct

from domain.fact import Fact, get_topic
from domain.ids import from_uuid
from domain.payload import Payload
from domain.runs.facts import CallRecord, ForkedFrom, ItemResult, Parent, Pins, StepItemsSettled
from gateway.http.payloads import Contents, show_payload
from gateway.runs.bodies import create_origin_body, create_parent_body
from store.log.records import Actor, Recorded


class EventBody(Struct, frozen=True, kw_only=True):
    """A fact and its metadata. `id` is its position with the tag of the log; streams resume after it."""

    id: str
    position: int
    version: int
    topic: str
    recorded_at: datetime
    actor: Actor
    data: dict[str, Any]


def create_event_body(event_id: str, recorded: Recorded, contents: Contents) -> EventBody:
    """Return a fact as it is sent."""
    fact = recorded.fact
    return EventBody(
        id=event_id,
        position=recorded.position,
        version=recorded.version,
        topic=get_topic(type(fact)),
        recorded_at=recorded.recorded_at,
        actor=recorded.metadata.actor,
        data={name: _show_value(name, getattr(fact, name), contents) for name in fact.__struct_fields__},
    )


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


def _show_value(name: str, value: Any, contents: Contents) -> Any:  # noqa: ANN401  # any field of a fact
    match value:
        case Payload():
            return show_payload(value, contents)
        case Pins():
            return {
                "assets": {from_uuid("ast", asset_id): version for asset_id, version in value.assets.items()},
                "workflows": {
                    from_uuid("wf", workflow_id): version for workflow_id, version in value.workflows.items()
                },
                "flags": value.flags,
                "prices": value.prices,
            }
        case UUID():
            return from_uuid("run" if name in {"from_run", "run_id"} else "wf", value)
        case Parent():
            return create_parent_body(value)
        case ForkedFrom():
            return create_origin_body(value)
        case tuple():
            return [_show_value(name, item, contents) for item in cast("tuple[object, ...]", value)]
        case ItemResult():
            return {
                "item": value.item,
                "run_id": from_uuid("run", value.run_id),
                "outcome": value.outcome,
                "output": show_payload(value.output, contents),
                "error": value.error,
                "took": value.took,
            }
        case CallRecord():
            return _show_call(value)
        case dict():
            items = cast("dict[str, object]", value).items()
            return {key: show_payload(item, contents) if isinstance(item, Payload) else item for key, item in items}
        case _:
            return value


def _show_call(call: CallRecord) -> dict[str, Any]:
    """Return the record of a call; large values stay references, and reasoning is thus in no event."""
    return {"number": call.number, "asked": show_payload(call.asked), "answered": show_payload(call.answered)}
