"""Where expressions stand in a graph, and how each is compiled."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, TypeAlias, assert_never

from domain.expressions_queries import Query, compile_query
from domain.expressions_templates import Template, compile_template
from domain.graph import (
    DelayNode,
    HttpNode,
    HumanNode,
    MapNode,
    Node,
    PromptNode,
    TransformNode,
    WorkflowNode,
)

Compile: TypeAlias = Callable[[str], Query] | Callable[[str], Template]


class Written(NamedTuple):
    """One expression of a node: its path below the node, its source, and the compiler of its language."""

    path: tuple[str, ...]
    source: str
    compile: Compile


def expressions_of(node: Node) -> Iterator[Written]:
    """Give every template and query of a node."""
    match node:
        case PromptNode(config=config):
            yield from _templates(template=config.template, system=config.system)
            yield from _picks("variables", config.variables)
        case HumanNode(config=config):
            yield from _templates(instructions=config.instructions)
            yield from _picks("shows", config.shows)
        case TransformNode(config=config):
            yield from _queries(expression=config.expression)
        case HttpNode(config=config):
            yield from _templates(url=config.url, body=config.body)
            for header, value in config.headers.items():
                yield Written(("config", "headers", header), value, compile_template)
        case DelayNode(config=config):
            yield from _templates(until=config.until)
        case MapNode(config=config):
            yield from _queries(items=config.items)
            yield from _picks("inputs", config.inputs)
        case WorkflowNode(config=config):
            yield from _picks("inputs", config.inputs)
        case _:
            assert_never(node)


def _templates(**sources: str | None) -> Iterator[Written]:
    for name, source in sources.items():
        if source is not None:
            yield Written(("config", name), source, compile_template)


def _queries(**sources: str | None) -> Iterator[Written]:
    for name, source in sources.items():
        if source is not None:
            yield Written(("config", name), source, compile_query)


def _picks(field: str, picks: Mapping[str, str]) -> Iterator[Written]:
    for name, source in picks.items():
        yield Written(("config", field, name), source, compile_query)
