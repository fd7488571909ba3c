"""The price table of models as the settings give it: JSON, or the path of a file with it."""

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
    """What models cost, by `provider/model`: `{"openai/gpt-5": {"input_usd": "1.25", "output_usd": "10"}}`."""

    def __init__(self, text: str) -> None:
        """Read the table. Raises ValueError, which says what cannot be used."""
        try:
            self.prices: Mapping[str, ModelPrice] = msgspec.json.decode(_json_of(text), type=_Table)
        except (msgspec.MsgspecError, UnicodeError) as wrong:
            raise ValueError(f"the price table cannot be used: {wrong}") from None

    def __str__(self) -> str:
        return f"{len(self.prices)} models"

    def by_name(self, defaults: Mapping[str, str]) -> dict[str, Priced]:
        """Return the price of each name that a graph may use; `defaults` says what such a name stands for."""
        table = {model: Priced(model=model, price=price) for model, price in self.prices.items()}
        stand_for = {name: table[model] for name, model in defaults.items() if model in table}
        return {**table, **stand_for}


def _json_of(text: str) -> bytes:
    if text.lstrip().startswith("{"):
        return text.encode()
    path = Path(text)
    try:
        if path.stat().st_size > BYTES_MAX:
            raise ValueError(f"the price table {path} is larger than {BYTES_MAX} bytes")
        return path.read_bytes()
    except OSError as wrong:
        raise ValueError(f"the price table {path} cannot be read: {wrong.strerror}") from None
