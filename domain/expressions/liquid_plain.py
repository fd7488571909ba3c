"""Render templates of plain text and plain names, such as most prompts, without the library.

`python-liquid` takes 18 µs to set up a context and a buffer, for a text that takes 1 µs to join. Whatever needs a rule
of Liquid (filters, tags, missing names, values that are not text, long texts, secrets) is left to the library.
"""

from collections.abc import Iterable, Mapping
from typing import Final, cast

from liquid import Node
from liquid.builtin.content import ContentNode
from liquid.builtin.expressions import FilteredExpression, Path
from liquid.builtin.output import OutputNode

from domain.expressions.liquid_secrets import SECRETS

PLAIN_OUTPUT_CHARACTERS_MAX: Final = 10_000
"""Far below every bound on the work of a template, so the budget need not be charged."""

PlainPart = str | tuple[str, ...]
"""A text as it is, or the keys that lead from the data to a text."""


def compile_plain_parts(nodes: Iterable[Node]) -> tuple[PlainPart, ...] | None:
    """Return the parts of a parsed template; None if it holds more than plain text and plain names."""
    parts: list[PlainPart] = []
    for node in nodes:
        if isinstance(node, ContentNode):
            parts.append(node.text)
        elif isinstance(node, OutputNode) and (path := _plain_path(node)) is not None:
            parts.append(path)
        else:
            return None
    return tuple(parts)


def _plain_path(node: OutputNode) -> tuple[str, ...] | None:
    expression = node.expression
    if not isinstance(expression, FilteredExpression) or expression.filters:
        return None
    if not isinstance(expression.left, Path):
        return None
    keys = [key for key in expression.left.path if isinstance(key, str)]
    is_plain = len(keys) == len(expression.left.path) and keys[0] != SECRETS
    return tuple(keys) if is_plain else None


def render_plain(parts: Iterable[PlainPart], data: Mapping[str, object]) -> str | None:
    """Return the rendered text; None if a value is missing, is not text, or makes the text long."""
    texts: list[str] = []
    characters = 0
    for part in parts:
        text = part if isinstance(part, str) else _find_text(part, data)
        if text is None:
            return None
        characters += len(text)
        if characters > PLAIN_OUTPUT_CHARACTERS_MAX:  # before joining: one long text can be named thousands of times
            return None
        texts.append(text)
    return "".join(texts)


def _find_text(keys: tuple[str, ...], data: Mapping[str, object]) -> str | None:
    value: object = data
    for key in keys:
        value = _get_member(value, key)
    return value if type(value) is str else None


def _get_member(value: object, key: str) -> object:
    return cast("dict[str, object]", value).get(key) if isinstance(value, dict) else None
