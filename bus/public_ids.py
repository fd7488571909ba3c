"""Ids in the data of events: `run_…` wherever an event is read, a UUID in the stored fact."""

from collections.abc import Callable
from typing import Any, Final, cast
from uuid import UUID

from domain.ids import Prefix, from_uuid, to_uuid

ConvertId = Callable[[Prefix, str], str]

TOPICS_WITH_IDS: Final = frozenset(
    {
        "api-key.created",
        "run.cancelled",
        "run.completed",
        "run.failed",
        "run.retried",
        "run.started",
        "step.item-counted",
        "step.items-settled",
        "step.reused",
        "workflow.created",
    }
)
"""The topics whose data can hold ids; a test compares them with the facts. Others are carried as stored."""

SCALARS: Final[dict[str, Prefix]] = {
    "workflow_id": "wf",
    "run_id": "run",
    "from_run": "run",
    "duplicated_from": "wf",
}
RUNS: Final = ("parent", "forked_from")
"""Objects that name a run."""


def publish_ids(data: object) -> object:
    """Return the data of a stored fact with public ids. What is no UUID, in a fact of a later version, stays."""
    return _convert(data, _publish)


def restore_ids(data: object) -> object:
    """Return the data of an event as the fact is stored. Raises ValueError for an id of another kind."""
    return _convert(data, lambda prefix, text: str(to_uuid(prefix, text)))


def _publish(prefix: Prefix, text: str) -> str:
    try:
        return from_uuid(prefix, UUID(text))
    except ValueError:
        return text


def _convert(data: object, convert: ConvertId) -> object:
    if not isinstance(data, dict):
        return data
    fields = {**cast("dict[str, Any]", data)}
    for name, prefix in SCALARS.items():
        if isinstance(fields.get(name), str):
            fields[name] = convert(prefix, fields[name])
    for name in RUNS:
        fields.update({name: _convert_run(fields[name], convert)} if name in fields else {})
    if isinstance(fields.get("items"), list):  # the results of children; those that are waited for are one payload
        fields["items"] = [_convert_run(item, convert) for item in fields["items"]]
    if isinstance(fields.get("project_ids"), list):
        fields["project_ids"] = [convert("prj", text) for text in fields["project_ids"]]
    if isinstance(fields.get("pins"), dict):
        fields["pins"] = _convert_pins(fields["pins"], convert)
    return fields


def _convert_run(value: object, convert: ConvertId) -> object:
    if not isinstance(value, dict):
        return value
    fields = cast("dict[str, Any]", value)
    return {**fields, "run_id": convert("run", fields["run_id"])} if isinstance(fields.get("run_id"), str) else fields


def _convert_pins(pins: dict[str, Any], convert: ConvertId) -> dict[str, Any]:
    kinds: tuple[tuple[str, Prefix], ...] = (("assets", "ast"), ("workflows", "wf"))
    pinned = {
        name: {convert(prefix, key): version for key, version in pins[name].items()}
        for name, prefix in kinds
        if isinstance(pins.get(name), dict)
    }
    return {**pins, **pinned}
