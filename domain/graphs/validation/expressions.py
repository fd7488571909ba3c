"""Expressions of a graph: their paths, their languages, and the errors of compiling them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple, TypeAlias, assert_never

from domain.expressions.jmespath_queries import Query, compile_query
from domain.expressions.liquid_templates import Template, compile_template
from domain.graphs.configs import Message
from domain.graphs.graph import (
    ComposeNode,
    DelayNode,
    HttpNode,
    HumanNode,
    MapNode,
    Node,
    PromptNode,
    RepeatNode,
    TransformNode,
    WaitNode,
    WorkflowNode,
)

Compile: TypeAlias = Callable[[str], Query] | Callable[[str], Template]
RootNames: TypeAlias = tuple[str, ...]
"""The top-level names of the data that an expression sees."""

RUN: Final = ("inputs", "steps", "run")
PROMPT: Final = (*RUN, "variables")
CALL: Final = (*RUN, "secrets")
ITEM: Final = (*RUN, "item", "index")


class Expression(NamedTuple):
    """One expression of a node: its path below the node, its source, its language's compiler, and what it sees."""

    path: tuple[str, ...]
    source: str
    compile: Compile
    sees: RootNames


def iterate_expressions(node: Node) -> Iterator[Expression]:
    """Return every template and query of a node."""
    match node:
        case PromptNode() | ComposeNode():
            yield from _prompt_expressions(node)
        case HumanNode(config=config):
            yield from _templates(RUN, instructions=config.instructions)
            yield from _picks(RUN, "shows", config.shows)
        case TransformNode(config=config):
            yield from _queries(RUN, expression=config.expression)
        case HttpNode(config=config):
            yield from _templates(CALL, url=config.url, body=config.body)
            for header, value in config.headers.items():
                yield Expression(("config", "headers", header), value, compile_template, CALL)
        case DelayNode(config=config):
            yield from _templates(RUN, until=config.until)
        case MapNode(config=config):
            yield from _queries(RUN, items=config.items)
            yield from _picks(ITEM, "inputs", config.inputs)
        case WorkflowNode(config=config) | RepeatNode(config=config):
            yield from _picks(RUN, "inputs", config.inputs)
        case WaitNode():
            return
        case _:
            assert_never(node)


def _prompt_expressions(node: PromptNode | ComposeNode) -> Iterator[Expression]:
    yield from _templates(PROMPT, template=node.config.template)
    if isinstance(node, PromptNode):
        yield from _templates(PROMPT, system=node.config.system)
        yield from _messages(node.config.messages or ())
    yield from _picks(RUN, "variables", node.config.variables)


def _templates(sees: RootNames, **sources: str | None) -> Iterator[Expression]:
    for name, source in sources.items():
        if source is not None:
            yield Expression(("config", name), source, compile_template, sees)


def _messages(messages: tuple[Message, ...]) -> Iterator[Expression]:
    for index, message in enumerate(messages):
        path = ("config", "messages", str(index))
        if message.template is not None:
            yield Expression((*path, "template"), message.template, compile_template, PROMPT)
        for place, part in enumerate(message.parts or ()):
            for name in ("text", "url", "content", "name"):
                source: str | None = getattr(part, name, None)
                if source is not None:
                    yield Expression((*path, "parts", str(place), name), source, compile_template, PROMPT)


def _queries(sees: RootNames, **sources: str | None) -> Iterator[Expression]:
    for name, source in sources.items():
        if source is not None:
            yield Expression(("config", name), source, compile_query, sees)


def _picks(sees: RootNames, field: str, picks: Mapping[str, str]) -> Iterator[Expression]:
    for name, source in picks.items():
        yield Expression(("config", field, name), source, compile_query, sees)
