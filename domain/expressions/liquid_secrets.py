"""Secrets in templates: shown whole and in known forms only, so that what comes back can be cut out again.

Whoever draws a workflow could otherwise have a secret sent in parts to a host that echoes them, or ask of it letter by
letter, and read it in the run.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from liquid import Expression, Node, RenderContext
from liquid.builtin.expressions import FilteredExpression, Path
from liquid.builtin.output import OutputNode
from liquid.builtin.tags.capture_tag import CaptureNode
from liquid.builtin.tags.ifchanged_tag import IfChangedNode

from domain.expressions.common import ExpressionFault

SECRETS: Final = "secrets"
"""The name by which templates are given them."""
KEEPING: Final = frozenset(
    {"append", "base64_encode", "base64_url_safe_encode", "escape", "json", "prepend", "url_encode"}
)
"""Filters that keep all of what they are given."""
NOT_WHOLE: Final = (
    "a secret is only shown whole, as {{ secrets.name }}, with no filters but "
    f"{', '.join(sorted(KEEPING))}, and not in tags"
)


class SecretTexts(Mapping[str, str]):
    """The secrets as templates are given them."""

    @abstractmethod
    def show(self, text: str) -> None:
        """Hear what an output with a secret in it came to, and each of its filters."""


class SecretsNotWhole(ExpressionFault):
    """A template looks at a secret otherwise than whole."""

    def __init__(self) -> None:
        """Say how it may be looked at."""
        super().__init__(f"Liquid: {NOT_WHOLE}")


def outputs_of_whole_secrets(nodes: Iterable[Node], context: RenderContext) -> Iterator[OutputNode]:
    """Give the outputs that may look at secrets. Raises SecretsNotWhole where a template names one anywhere else."""
    for node in nodes:
        named = any(path.path[0] == SECRETS for expression in node.expressions() for path in _paths(expression))
        if named and not (isinstance(node, OutputNode) and _keeps_whole(node.expression)):
            raise SecretsNotWhole
        if named and isinstance(node, OutputNode):
            yield node
        below = outputs_of_whole_secrets(node.children(context, include_partials=False), context)
        if isinstance(node, (CaptureNode, IfChangedNode)) and any(below):
            raise SecretsNotWhole  # what is captured could be taken apart further down, or is compared
        yield from below


def _keeps_whole(shown: Expression) -> bool:
    if type(shown) is not FilteredExpression:
        return False  # one with a condition
    for part in shown.children():
        named = [path for path in _paths(part) if path.path[0] == SECRETS or path.children()]
        if named and not (part is named[0] and _is_one(named[0])):
            return False  # as in inputs[secrets.name], or (1..secrets.name)
    return {applied.name for applied in shown.filters or ()} <= KEEPING


def _is_one(named: Path) -> bool:
    """Tell whether a path is `secrets.name`, and neither a part of one nor all of them."""
    path = named.path
    return len(path) == 2 and path[0] == SECRETS and isinstance(path[1], str)  # noqa: PLR2004  # those two


def _paths(expression: Expression) -> Iterator[Path]:
    if isinstance(expression, Path):
        yield expression
    for part in expression.children():
        yield from _paths(part)
