"""Secrets in templates: used whole and in known forms only, so that the response can be redacted.

Otherwise the author of a workflow could send a secret in parts to a host that echoes them, or test it letter by letter,
and read it in the run.
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
"""The name of the secrets in the data of templates."""
KEEPING: Final = frozenset(
    {"append", "base64_encode", "base64_url_safe_encode", "escape", "json", "prepend", "url_encode"}
)
"""Filters whose result holds all of their input."""
NOT_WHOLE: Final = (
    "A secret can only be used whole, as {{ secrets.name }}, outside of tags. Allowed filters: "
    f"{', '.join(sorted(KEEPING))}."
)


class SecretTexts(Mapping[str, str]):
    """The secrets as templates see them."""

    @abstractmethod
    def show(self, text: str) -> None:
        """Record the text of an output that holds a secret, and the result of each of its filters."""


class SecretsNotWhole(ExpressionFault):
    """A template uses a secret other than as a whole."""

    def __init__(self) -> None:
        """Create it with the allowed forms in the message."""
        super().__init__(f"Liquid: {NOT_WHOLE}")


def find_secret_outputs(nodes: Iterable[Node], context: RenderContext) -> Iterator[OutputNode]:
    """Yield the outputs that may read secrets. Raises SecretsNotWhole where a template names a secret elsewhere."""
    for node in nodes:
        named = any(path.path[0] == SECRETS for expression in node.expressions() for path in _paths(expression))
        if named and not (isinstance(node, OutputNode) and _keeps_whole(node.expression)):
            raise SecretsNotWhole
        if named and isinstance(node, OutputNode):
            yield node
        below = find_secret_outputs(node.children(context, include_partials=False), context)
        if isinstance(node, (CaptureNode, IfChangedNode)) and any(below):
            raise SecretsNotWhole  # a captured text could be taken apart or compared later in the template
        yield from below


def _keeps_whole(shown: Expression) -> bool:
    if type(shown) is not FilteredExpression:
        return False  # an output with a condition
    for part in shown.children():
        named = [path for path in _paths(part) if path.path[0] == SECRETS or path.children()]
        if named and not (part is named[0] and _is_whole_secret(named[0])):
            return False  # as in inputs[secrets.name], or (1..secrets.name)
    return {applied.name for applied in shown.filters or ()} <= KEEPING


def _is_whole_secret(named: Path) -> bool:
    """Return whether a path is `secrets.name`: neither a part of a secret nor all of them."""
    path = named.path
    return len(path) == 2 and path[0] == SECRETS and isinstance(path[1], str)  # noqa: PLR2004  # those two


def _paths(expression: Expression) -> Iterator[Path]:
    if isinstance(expression, Path):
        yield expression
    for part in expression.children():
        yield from _paths(part)
