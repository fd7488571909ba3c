"""A run's facts as they are sent: in JSON pages and on event streams alike."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from msgspec import Struct

from domain.fact import Fact, topic_of
from domain.ids import from_uuid
from domain.payload import Payload
from domain.runs.facts import ForkedFrom, ItemResult, Parent, Pins, StepItemsSettled
from gateway.http.payloads import Resolved, value_of
from gateway.runs.bodies import forked_from_body, parent_body
from store.log.records import Actor, Recorded


class EventBody(Struct, frozen=True, kw_only=True):
    """A fact with what surrounds it. `id` is its position with the log's id, as streams give it and take it back."""

    id: str
    position: int
    version: int
    topic: str
    recorded_at: datetime
    actor: Actor
    data: dict[str, Any]


def event_body(mark: str, recorded: Recorded, known: Resolved) -> EventBody:
    """Write a fact for the wire; `mark` is the id that its position is given."""
    fact = recorded.fact
    return EventBody(
        id=mark,
        position=recorded.position,
        version=recorded.version,
        topic=topic_of(type(fact)),
        recorded_at=recorded.recorded_at,
        actor=recorded.metadata.actor,
        data={name: _shown(name, getattr(fact, name), known) for name in fact.__struct_fields__},
    )


def payloads_of(fact: Fact) -> Iterator[Payload]:
    """Give everything in a fact that may be a reference."""
    for name in fact.__struct_fields__:
        value = getattr(fact, name)
        if isinstance(value, Payload):
            yield value
        elif isinstance(value, dict):
            items = cast("dict[str, object]", value).values()
            yield from (item for item in items if isinstance(item, Payload))
    if isinstance(fact, StepItemsSettled):
        yield from (item.output for item in fact.items)


def _shown(name: str, value: Any, known: Resolved) -> Any:  # noqa: ANN401  # any field of a fact
    match value:
        case Payload():
            return value_of(value, known)
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
            return from_uuid("run" if name == "from_run" else "wf", value)
        case Parent():
            return parent_body(value)
        case ForkedFrom():
            return forked_from_body(value)
        case tuple():
            return [_shown(name, item, known) for item in cast("tuple[object, ...]", value)]
        case ItemResult():
            return {
                "item": value.item,
                "run_id": from_uuid("run", value.run_id),
                "outcome": value.outcome,
                "output": value_of(value.output, known),
                "error": value.error,
                "took": value.took,
            }
        case dict():
            items = cast("dict[str, object]", value).items()
            return {key: value_of(item, known) if isinstance(item, Payload) else item for key, item in items}
        case _:
            return value
