"""Generate the tables of `docs/settings.md` from the definitions: `python -m callsheet.settings.page` (`make docs`).

A table is between `<!-- settings: <group> -->` and `<!-- end -->`; the text around the tables is written by hand.
"""

import ast
import inspect
import re
from pathlib import Path
from typing import Final, get_type_hints

from msgspec import Struct

from callsheet.settings.load import Settings, Variable, list_variables

PAGE: Final = Path("docs/settings.md")
TABLE: Final = re.compile(r"(<!-- settings: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
HEAD: Final = "| variable | default | what it sets |\n|---|---|---|\n"


def describe_fields(kind: type[Struct]) -> dict[str, str]:
    """Return the docstring of each field of a Struct, on one line."""
    (definition,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(definition, ast.ClassDef)  # noqa: S101  # what the source of a class is
    found: dict[str, str] = {}
    for field, text in zip(definition.body, definition.body[1:], strict=False):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                found[name] = " ".join(words.split())
            case _:
                pass
    return found


def render_table(group: str) -> str:
    """Return the table of one group of settings, as Markdown. Raises KeyError for a field without a docstring."""
    described = describe_fields(get_type_hints(Settings)[group])
    rows = (variable for variable in list_variables() if variable.group == group)
    return HEAD + "".join(_render_row(row, described[row.field]) for row in rows)


def _render_row(variable: Variable, description: str) -> str:
    default = "none" if variable.default is None else f"`{variable.default}`"
    return f"| `{variable.name}` | {default} | {description} |\n"


def render_page(text: str) -> str:
    """Return the page with every table regenerated."""
    return TABLE.sub(lambda found: f"{found[1]}{render_table(found[2])}{found[3]}", text)


if __name__ == "__main__":
    PAGE.write_text(render_page(PAGE.read_text()))
