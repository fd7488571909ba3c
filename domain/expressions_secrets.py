"""Secrets in templates: shown whole and in known forms only, so that what comes back can be cut out again.

Whoever draws a workflow could otherwise have a secret sent in parts to a host that echoes them, or ask of it letter by
letter, and read it in the run.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from liquid import Expression, Node, RenderContext
from liquid.builtin.expressions import FilteredExpression, Path
from liquid.builtin.output import OutputNode
from liquid.builtin.tags.capture_tag import CaptureNode

from domain.expressions import ExpressionFault

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
        """Hear what an output with a secret in it came to."""


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
        if isinstance(node, CaptureNode) and any(below):
            raise SecretsNotWhole  # what is captured could be taken apart further down
        yield from below


def _keeps_whole(shown: Expression) -> bool:
    if type(shown) is not FilteredExpression:
        return False  # one with a condition
    within = any(path.children() for path in _paths(shown))  # as in inputs[secrets.name]
    named = [path.path for path in _paths(shown) if path.path[0] == SECRETS]
    is_plain = all(_is_one(path) for path in named) and not within
    return is_plain and {applied.name for applied in shown.filters or ()} <= KEEPING


def _is_one(path: Sequence[object]) -> bool:
    """Tell whether a path below the secrets is `secrets.name`, and neither a part of one nor all of them."""
    return len(path) == 2 and isinstance(path[1], str)  # noqa: PLR2004  # those two


def _paths(expression: Expression) -> Iterator[Path]:
    if isinstance(expression, Path):
        yield expression
    for part in expression.children():
        yield from _paths(part)
