"""Graphs as a caller sends them, in few words."""

from typing import Any
from uuid import UUID

from domain.graphs.validation.check import GraphUnacceptable, check_graph
from domain.graphs.validation.semantics import KnownReferences
from domain.ids import from_uuid, to_uuid

Json = dict[str, Any]

PROMPT = from_uuid("ast", UUID("01890a5d-ac96-774b-bcce-b302099a8057"))
DATASET = from_uuid("ast", UUID("01890a5d-ac96-774b-bcce-b302099a8058"))
CHILD = from_uuid("wf", UUID("01890a5d-ac96-774b-bcce-b302099a8059"))
ABSENT_ASSET = from_uuid("ast", UUID("01890a5d-ac96-774b-bcce-b302099a805a"))
ABSENT_WORKFLOW = from_uuid("wf", UUID("01890a5d-ac96-774b-bcce-b302099a805b"))
KNOWN = KnownReferences(
    assets={to_uuid("ast", PROMPT): "prompt", to_uuid("ast", DATASET): "dataset"},
    workflows=frozenset({to_uuid("wf", CHILD)}),
)


def node(node_id: str = "a", /, kind: str = "transform", **fields: object) -> Json:
    return {"id": node_id, "kind": kind, **fields}


def edge(source: str, target: str, **fields: object) -> Json:
    return {"from": source, "to": target, **fields}


def graph(*nodes: object, edges: list[Any] | None = None) -> Json:
    return {"nodes": list(nodes), "edges": edges or []}


def prompt(**config: object) -> Json:
    return node(kind="prompt", config={"model": "openai/gpt-5", "template": "Hi", **config})


def human(**config: object) -> Json:
    return node(kind="human", config={"assignees": [{"role": "reviewer"}], **config})


def find_problems(raw: object) -> dict[str, str]:
    try:
        check_graph(raw, KNOWN)
    except GraphUnacceptable as refusal:
        return {problem.pointer: problem.message for problem in refusal.problems}
    return {}
