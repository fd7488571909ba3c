"""Commands in the documents mean the same in bash and in an interactive zsh, the shell of macOS."""

import re
from pathlib import Path

import pytest

from tests.docs.test_links import PAGES, TOP

EVERY_PAGE = (*PAGES, *sorted((TOP / "examples").glob("*.md")), *sorted((TOP / "examples").glob("*/*.md")))
SHELL_BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
MODIFIER = re.compile(r"\$[A-Z]+:[a-z]")
"""zsh takes `$RUN:r` for the variable without its suffix; `${RUN}:run` is the same in both."""
COMMENT = re.compile(r"(?:^|\s)#(?:\s|$)")
"""An interactive zsh hands a comment on to the command, as arguments."""


def read_typed_lines(page: Path) -> list[str]:
    """Return the lines of the shell blocks."""
    return [line for block in SHELL_BLOCK.findall(page.read_text()) for line in block.splitlines()]


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: str(page.relative_to(TOP)))
def test_a_page_has_no_line_to_type_that_zsh_reads_otherwise(page: Path) -> None:
    modified = [line for line in (*read_typed_lines(page), *INLINE.findall(page.read_text())) if MODIFIER.search(line)]
    assert modified + [line for line in read_typed_lines(page) if COMMENT.search(line)] == []


def test_lines_to_type_are_found() -> None:
    assert sum(len(read_typed_lines(page)) for page in EVERY_PAGE) > 100
