"""Prices: which of them a run pins, and what a call costs by them."""

import pytest

from domain.graphs.configs import PromptConfig
from domain.graphs.graph import Graph, PromptNode, TransformNode
from domain.runs.facts import Usage
from domain.runs.prices import ModelPrice, Priced, add_cost, collect_prices

PRICE = ModelPrice(input_usd="1.25", output_usd="10")
PINNED: dict[str, object] = {"openai/gpt-5": {"input_usd": "1.25", "output_usd": "10"}}
TABLE = {
    "openai/gpt-5": Priced(model="openai/gpt-5", price=PRICE),
    "openai/default": Priced(model="openai/gpt-5", price=PRICE),
    "openai/other": Priced(model="openai/other", price=PRICE),
}


def asking(*models: str) -> Graph:
    prompts = [PromptNode(id=f"n{i}", config=PromptConfig(model=model)) for i, model in enumerate(models)]
    return Graph(nodes=(*prompts, TransformNode(id="last")))


def usage(tokens_in: int, tokens_out: int, model: str = "openai/gpt-5", cost: str | None = None) -> Usage:
    return Usage(model=model, input_tokens=tokens_in, output_tokens=tokens_out, latency_ms=1.0, cost_usd=cost)


def test_the_prices_of_the_models_that_a_graph_names_are_pinned() -> None:
    assert collect_prices(asking("openai/gpt-5", "local/free"), TABLE) == PINNED


def test_a_default_pins_the_price_of_the_model_that_it_stands_for() -> None:
    assert collect_prices(asking("openai/default"), TABLE) == PINNED


def test_a_graph_without_prompts_pins_nothing() -> None:
    assert collect_prices(asking(), TABLE) == {}


@pytest.mark.parametrize(
    ("tokens", "cost"),
    [((1_000_000, 0), "1.25"), ((7, 4), "0.00004875"), ((800_000, 0), "1"), ((0, 10_000_000), "100")],
)
def test_a_cost_is_exact_and_written_in_full(tokens: tuple[int, int], cost: str) -> None:
    assert add_cost(usage(*tokens), PINNED).cost_usd == cost


def test_a_model_without_a_price_has_no_cost() -> None:
    assert add_cost(usage(1, 1, "local/free"), PINNED).cost_usd is None


def test_a_call_whose_tokens_were_not_counted_is_not_free() -> None:
    assert add_cost(usage(0, 0), PINNED).cost_usd is None


def test_a_cost_that_the_provider_gave_is_kept() -> None:
    assert add_cost(usage(1, 1, cost="0"), PINNED).cost_usd == "0"
