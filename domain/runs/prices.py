"""Prices of models: the cost of a call by its tokens, in exact decimals, as pinned when the run began."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from domain.graphs.graph import Graph, PromptNode
from domain.runs.facts import Usage

DecimalText = Annotated[str, Meta(pattern=r"^[0-9]{1,9}(\.[0-9]{1,12})?$(?!\n)")]
PER_TOKENS = Decimal(1_000_000)


class ModelPrice(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Price of a model in USD per million tokens, as decimal strings."""

    input_usd: DecimalText
    output_usd: DecimalText


class Priced(Struct, frozen=True, kw_only=True):
    """A price and the model that it belongs to: `openai/default` has the price of the model that it refers to."""

    model: str
    price: ModelPrice


def collect_prices(graph: Graph, table: Mapping[str, Priced]) -> dict[str, object]:
    """Return the prices of the models that a graph names, by model name, for a run to pin."""
    return {found.model: msgspec.to_builtins(found.price) for found in _find_prices(graph, table)}


def add_cost(usage: Usage, pinned: Mapping[str, object]) -> Usage:
    """Return what a call took with its cost by the pinned prices; as it is where the price is not known, or the tokens.

    No call takes none: some servers do not count, and their answers are not free.
    """
    price = pinned.get(usage.model)
    is_counted = usage.input_tokens + usage.output_tokens > 0
    if price is None or usage.cost_usd is not None or not is_counted:
        return usage
    known = msgspec.convert(price, ModelPrice)
    cost = usage.input_tokens * Decimal(known.input_usd) + usage.output_tokens * Decimal(known.output_usd)
    return replace(usage, cost_usd=_format_cost(cost / PER_TOKENS))


def _find_prices(graph: Graph, table: Mapping[str, Priced]) -> Iterator[Priced]:
    if not table:
        return
    for node in graph.nodes:
        if isinstance(node, PromptNode) and (found := table.get(node.config.model)) is not None:
            yield found


def _format_cost(cost: Decimal) -> str:
    """Return a cost as a decimal string without exponent and trailing zeros."""
    text = f"{cost:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
