"""The page of settings names every variable with its default, and no other."""

import re
from pathlib import Path
from typing import get_type_hints

from callsheet.settings.load import Settings, variables_of
from domain.setting_types import Secret

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
ROW = re.compile(r"^\| `(?P<variable>[A-Z_]+)` \| (?P<default>none|`[^`]+`) \| ", re.MULTILINE)


def defaults() -> dict[str, object]:
    """Give the default of each variable."""
    settings = Settings()
    return {
        variable: getattr(getattr(settings, group), field)
        for group, kind in get_type_hints(Settings).items()
        for field, variable in variables_of(group, kind).items()
    }


def written(default: object) -> str:
    """Write a default as the page does."""
    assert not isinstance(default, Secret), "a default secret is no secret"
    return "none" if default is None else f"`{default}`"


def test_every_setting_is_on_the_page_once_with_its_default() -> None:
    rows = list(ROW.finditer(PAGE.read_text()))
    on_the_page = {row["variable"]: row["default"] for row in rows}
    assert len(rows) == len(on_the_page), "a setting has two rows"
    assert on_the_page == {variable: written(default) for variable, default in defaults().items()}
