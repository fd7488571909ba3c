"""Output of operator commands: JSON for programs, tables for people, and the exit codes for both."""

# The decorators of click are typed in part only.
# pyright: reportUnknownMemberType=false

import re
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

NOT_PLAIN: Final = re.compile("[^ -~]")

F = TypeVar("F", bound=Callable[..., Any])


def json_option(command: F) -> F:
    """Add the option `--json` to a command, as the parameter `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(command)


def print_json(value: object) -> None:
    """Print a value as indented JSON."""
    click.echo(escape_controls(msgspec.json.format(msgspec.json.encode(value), indent=2).decode()))


def print_json_line(value: object) -> None:
    """Print a value as JSON on one line, and flush: another program may be following."""
    click.echo(escape_controls(msgspec.json.encode(value).decode()))


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
        table.add_row(*(Text(escape_controls(cell, kept="")) for cell in row))
    create_console().print(table)


def escape_controls(text: str, kept: str = "\n") -> str:
    r"""Write characters that control a terminal, or the direction of text, as JSON does: `\u009b`, `\u202e`.

    Stored text may contain them. Those in `kept` stay as they are; JSON stays the same JSON.
    """
    return text if text.isprintable() else NOT_PLAIN.sub(lambda found: _escape(found[0], kept), text)


def _escape(character: str, kept: str) -> str:
    if character.isprintable() or character in kept:
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[index]:02x}{units[index + 1]:02x}" for index in range(0, len(units), 2))


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
