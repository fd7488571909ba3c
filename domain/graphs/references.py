"""References of a graph to assets and workflows, to be loaded before the graph is validated or run."""

from collections.abc import Iterable, Iterator
from typing import Any, Final, cast
from uuid import UUID

from msgspec import Struct

from domain.graphs.configs import PromptConfig, TextPart
from domain.graphs.graph import MOST_NODES, Graph, MapNode, Node, PromptNode, RepeatNode, WorkflowNode
from domain.ids import Prefix, to_uuid

MOST_REFERENCES: Final = 1_000
"""Assets, and workflows, that a graph can name: each is loaded before the graph is validated and when a run starts."""


class References(Struct, frozen=True, kw_only=True):
    """The assets and workflows that a graph names, by their ids."""

    assets: frozenset[UUID]
    workflows: frozenset[UUID]


class Reference(Struct, frozen=True, kw_only=True):
    """An id in a node's config: its path, the id as written, and the kind of thing it must refer to."""

    path: tuple[str | int, ...]
    text: str
    prefix: Prefix
    asset_type: str | None = None


def iterate_references(node: Node) -> Iterator[Reference]:
    """Return the ids in one node's config."""
    match node:
        case PromptNode(config=config):
            if config.asset_id is not None:
                yield Reference(path=("asset_id",), text=config.asset_id, prefix="ast", asset_type="prompt")
            yield from _iterate_parts(config)
        case MapNode(config=config):
            yield Reference(path=("workflow_id",), text=config.workflow_id, prefix="wf")
            if config.dataset_id is not None:
                yield Reference(path=("dataset_id",), text=config.dataset_id, prefix="ast", asset_type="dataset")
        case WorkflowNode(config=config) | RepeatNode(config=config):
            yield Reference(path=("workflow_id",), text=config.workflow_id, prefix="wf")
        case _:
            return


def _iterate_parts(config: PromptConfig) -> Iterator[Reference]:
    for index, message in enumerate(config.messages or ()):
        for place, part in enumerate(message.parts or ()):
            if not isinstance(part, TextPart) and part.asset_id is not None:
                path = ("messages", index, "parts", place, "asset_id")
                yield Reference(path=path, text=part.asset_id, prefix="ast", asset_type="media")


def find_references(graph: Graph) -> References:
    """Return the references of an accepted graph."""
    return _collect((named.prefix, named.text) for node in graph.nodes for named in iterate_references(node))


def find_raw_references(raw: object) -> References:
    """Return the references of JSON that may become a graph, as far as they can be read. Never raises."""
    return _collect(_raw_ids(raw))


def _raw_ids(raw: object) -> Iterator[tuple[Prefix, str]]:
    fields: tuple[tuple[str, Prefix], ...] = (("asset_id", "ast"), ("dataset_id", "ast"), ("workflow_id", "wf"))
    for node in _list(_object(raw).get("nodes"))[:MOST_NODES]:
        config = _object(_object(node).get("config"))
        for field, prefix in fields:
            text = config.get(field)
            if isinstance(text, str):
                yield prefix, text
        for message in _list(config.get("messages")):
            for part in _list(_object(message).get("parts")):
                text = _object(part).get("asset_id")
                if isinstance(text, str):
                    yield "ast", text


def _collect(ids: Iterable[tuple[Prefix, str]]) -> References:
    found: dict[Prefix, set[UUID]] = {"ast": set(), "wf": set()}
    for prefix, text in ids:
        if len(found[prefix]) >= MOST_REFERENCES:
            break  # `check_graph` refuses more
        try:
            found[prefix].add(to_uuid(prefix, text))
        except ValueError:
            continue  # `check_graph` reports it with its pointer
    return References(assets=frozenset(found["ast"]), workflows=frozenset(found["wf"]))


def _object(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []
