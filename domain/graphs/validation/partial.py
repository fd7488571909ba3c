"""Partial reading of a node with invalid fields, so that its other problems are reported in the same response."""

from typing import Any, cast

import msgspec

from domain.graphs.graph import Node
from domain.graphs.validation.shape import Fault, Faults

# Placeholders for required fields with invalid values; problems found at their paths are not reported.
STAND_INS: dict[str, object] = {
    "model": "none/none",
    "assignees": [{"role": "owner"}],
    "url": "https://",
    "workflow_id": "",
}


def convert_partial_node(raw: object, faults: Faults) -> Node | None:
    """Read a node without its invalid fields; return None if its kind or its whole config cannot be read."""
    if not isinstance(raw, dict):
        return None
    sent = cast("dict[str, Any]", raw)
    config = sent.get("config", {})
    kept = {name: value for name, value in sent.items() if (name,) not in {fault.path[:1] for fault in faults}}
    if isinstance(config, dict):
        at_fault = {fault.path[1] for fault in faults if fault.path[:1] == ("config",) and len(fault.path) > 1}
        sound = {name: value for name, value in cast("dict[str, Any]", config).items() if name not in at_fault}
        stand_ins = {name: value for name, value in STAND_INS.items() if name in at_fault}
        kept["config"] = sound | stand_ins
    name = sent.get("id")
    try:
        node: Node = msgspec.convert(kept | {"kind": sent.get("kind"), "id": "unread"}, Node)
    except msgspec.ValidationError:
        return None
    return msgspec.structs.replace(node, id=name if isinstance(name, str) else "")


def is_artefact(found: Fault, faults: Faults) -> bool:
    """Return whether a later problem may be caused only by the omitted fields."""
    touched = {fault.path[:2] for fault in faults}
    return found.path[:2] in touched or (found.path == ("config",) and any(path[:1] == ("config",) for path in touched))
