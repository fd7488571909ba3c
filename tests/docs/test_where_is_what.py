"""Every row of docs/where-is-what.md names files that exist."""

import re

from tests.docs.test_links import TOP

ROW = re.compile(r"^\| (?!I want|---)(.+?) \| (`.+`) \|$", re.MULTILINE)
MIN_ROWS = 40


def read_rows() -> list[tuple[str, list[str]]]:
    """Return each change on the page with the files of its row."""
    page = (TOP / "docs" / "where-is-what.md").read_text()
    return [(change, re.findall(r"`([^`]+)`", files)) for change, files in ROW.findall(page)]


def test_the_page_answers_at_least_forty_questions() -> None:
    assert len(read_rows()) >= MIN_ROWS


def test_every_file_of_a_row_exists() -> None:
    assert [(change, file) for change, files in read_rows() for file in files if not (TOP / file).is_file()] == []


def test_no_row_names_more_than_three_files() -> None:
    assert [change for change, files in read_rows() if len(files) > 3] == []
