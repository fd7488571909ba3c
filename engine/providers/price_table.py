"""The price table of models in the settings: JSON, or the path of a JSON file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from domain.runs.prices import ModelPrice, Priced

MODELS_MAX = 10_000
BYTES_MAX = 4 * 1024 * 1024

_ModelName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,62}/\S{1,200}$(?!\n)")]
_Table = Annotated[dict[_ModelName, ModelPrice], Meta(max_length=MODELS_MAX)]


class PriceTable:
    """Prices of models by `provider/model`: `{"openai/gpt-5": {"input_usd": "1.25", "output_usd": "10"}}`."""

    def __init__(self, text: str) -> None:
        """Parse the table. Raises ValueError with the reason."""
        try:
            self.prices: Mapping[str, ModelPrice] = msgspec.json.decode(load_json(text, "the price table"), type=_Table)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise ValueError(f"the price table is invalid: {error}") from None

    def __str__(self) -> str:
        return f"{len(self.prices)} models"

    def by_name(self, defaults: Mapping[str, str]) -> dict[str, Priced]:
        """Return the price of each name that a graph may use; `defaults` maps openai/default and the like to models."""
        table = {model: Priced(model=model, price=price) for model, price in self.prices.items()}
        stand_for = {name: table[model] for name, model in defaults.items() if model in table}
        return {**table, **stand_for}


def load_json(text: str, what: str) -> bytes:
    """Return the JSON of a setting: its text, or the content of the file that it names. Raises ValueError."""
    if text.lstrip().startswith("{"):
        return text.encode()
    path = Path(text)
    try:
        if path.stat().st_size > BYTES_MAX:
            raise ValueError(f"{what} {path} is too large. Limit: {BYTES_MAX} bytes")
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{what} {path} cannot be read: {error.strerror}") from None
