"""Nodes that run workflows, in few words."""

from typing import Any
from uuid import UUID

from domain.ids import from_uuid
from tests.support.graphs import Json, node


def runs(workflow: UUID, node_id: str = "inner", **config: Any) -> Json:  # noqa: ANN401  # JSON
    return node(node_id, kind="workflow", config={"workflow_id": from_uuid("wf", workflow), **config})


def maps(workflow: UUID, node_id: str = "each", **config: Any) -> Json:  # noqa: ANN401  # JSON
    config = {"items": "inputs.list", **config}
    return node(node_id, kind="map", config={"workflow_id": from_uuid("wf", workflow), **config})
