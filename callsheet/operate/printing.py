"""Output of operator commands: JSON for programs, tables for people, and the exit codes for both."""

# The decorators of click are typed in part only.
# pyright: reportUnknownMemberType=false

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import msgspec
import rich_click as click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

ATTENTION: Final = 3
"""Exit code of a command that succeeded and found a problem. 2 is invalid input, 1 a failure."""

ABSENT: Final = 4
"""Exit code if the requested thing does not exist."""

INTERRUPTED: Final = 130
"""Exit code after Ctrl-C, as in shells."""

PIPED_COLUMNS: Final = 200
"""Width of tables if the output is not a terminal."""

F = TypeVar("F", bound=Callable[..., Any])


def json_option(command: F) -> F:
    """Add the option `--json` to a command, as the parameter `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(command)


def print_json(value: object) -> None:
    """Print a value as indented JSON."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def print_json_line(value: object) -> None:
    """Print a value as JSON on one line, and flush: another program may be following."""
    click.echo(msgspec.json.encode(value).decode())


def create_console() -> Console:
    """Return the console for tables on standard output."""
    found = Console(highlight=False)
    if not found.is_terminal:
        found.width = PIPED_COLUMNS
    return found


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Iterable[str] = ()) -> None:
    """Print a table; the columns in `numbers` are right-aligned. Cells are text without markup."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    right = frozenset(numbers)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(replace_control_characters(cell)) for cell in row))
    create_console().print(table)


def replace_control_characters(text: str) -> str:
    """Replace control characters: stored text may contain escape sequences of terminals."""
    return (
        text
        if text.isprintable()
        else "".join(character if character.isprintable() else "\ufffd" for character in text)
    )


def count(number: int) -> str:
    """Format a number for people."""
    return f"{number:,}"


def format_time(at: datetime | None) -> str:
    """Format a time for people, in UTC."""
    return "never" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"


def format_duration(seconds: float) -> str:
    """Format a duration for people, in the largest suitable unit."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"
