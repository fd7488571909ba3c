"""The price table of the settings: JSON or a file, held against its form."""

from pathlib import Path

import pytest

from callsheet.settings.load import SettingsUnusable, load_settings
from callsheet.wiring.models import load_model_prices
from domain.runs.prices import ModelPrice

TABLE = '{"openai/gpt-5": {"input_usd": "1.25", "output_usd": "10"}}'
PRICE = ModelPrice(input_usd="1.25", output_usd="10")


def test_prices_are_read_from_json_and_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    file.write_text(TABLE)
    for text in (TABLE, str(file)):
        table = load_model_prices(load_settings({"CALLSHEET_MODEL_PRICES": text}))
        assert {name: (priced.model, priced.price) for name, priced in table.items()} == {
            "openai/gpt-5": ("openai/gpt-5", PRICE)
        }


def test_the_default_model_has_the_price_of_what_it_stands_for() -> None:
    environ = {"CALLSHEET_MODEL_PRICES": TABLE, "OPENAI_API_KEY": "sk-x", "OPENAI_MODEL": "gpt-5"}
    assert load_model_prices(load_settings(environ))["openai/default"].model == "openai/gpt-5"


def test_without_a_table_nothing_has_a_price() -> None:
    assert load_model_prices(load_settings({})) == {}


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"gpt-5": {"input_usd": "1", "output_usd": "1"}}',
        '{"openai/gpt-5": {"input_usd": 1, "output_usd": "1"}}',
        '{"openai/gpt-5": {"input_usd": "-1", "output_usd": "1"}}',
        '{"openai/gpt-5": {"input_usd": "1e3", "output_usd": "1"}}',
        '{"openai/gpt-5": {"input_usd": "1"}}',
        "no/such/file.json",
    ],
)
def test_a_table_that_cannot_be_used_stops_the_start_by_name(text: str) -> None:
    with pytest.raises(SettingsUnusable, match="CALLSHEET_MODEL_PRICES: the price table"):
        load_settings({"CALLSHEET_MODEL_PRICES": text})
