"""Execute compose steps: a text, or JSON, by a template."""

from typing import Any, Final

import msgspec

from domain.expressions.budget import CHARACTERS_PER_WORK, Budget
from domain.expressions.common import ExpressionFault, shorten
from domain.expressions.jmespath_queries import compile_query
from domain.expressions.liquid_templates import render_template
from domain.graphs.configs import ComposeConfig

QUOTED_CHARACTERS: Final = 60


def compose(seen: dict[str, Any], config: ComposeConfig, budget: Budget) -> Any:  # noqa: ANN401  # JSON of any shape
    """Return the text of the template, or the JSON that it is. Raises ExpressionFault, TooMuchWork."""
    variables = {name: compile_query(query).apply(seen, budget) for name, query in config.variables.items()}
    text = render_template(config.template, {**seen, "variables": variables}, budget)
    if config.format == "text":
        return text
    budget.charge(len(text) // CHARACTERS_PER_WORK)
    try:
        return msgspec.json.decode(text.encode(errors="replace"))
    except (msgspec.DecodeError, RecursionError) as fault:
        quoted = shorten(text.strip()[:QUOTED_CHARACTERS])
        message = f"The text is not JSON: {fault}. Write values with the filter json. It begins with {quoted!r}"
        raise ExpressionFault(message) from fault
