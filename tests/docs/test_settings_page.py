"""The tables of the page of settings are generated from their definitions."""

from pathlib import Path

from callsheet.settings.load import list_variables
from callsheet.settings.page import render_page
from domain.setting_types import Secret

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_page_is_generated_from_the_settings() -> None:
    assert PAGE.read_text() == render_page(PAGE.read_text()), "run `make docs`"


def test_every_setting_is_on_the_page_once() -> None:
    text = PAGE.read_text()
    counts = {variable.name: text.count(f"\n| `{variable.name}` | ") for variable in list_variables()}
    assert counts == dict.fromkeys(counts, 1)


def test_no_secret_has_a_default() -> None:
    assert not [variable.name for variable in list_variables() if isinstance(variable.default, Secret)]
