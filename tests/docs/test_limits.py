"""The fixed limits on the settings page equal those in the code."""

import re
from importlib import import_module
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
ROW = re.compile(r"^\| [^|]+ \| (?P<value>\d+) \| `(?P<name>[A-Z_]+)` \(`(?P<file>[a-z_/]+)\.py`\) \| ", re.MULTILINE)


def test_every_limit_on_the_page_is_the_one_of_the_code() -> None:
    rows = list(ROW.finditer(PAGE.read_text()))
    on_the_page = {row["name"]: int(row["value"]) for row in rows}
    assert on_the_page == {
        row["name"]: getattr(import_module(row["file"].replace("/", ".")), row["name"]) for row in rows
    }
    assert len(on_the_page) >= 10
