"""Links, paths, commands and names in the documents lead somewhere."""

import re
from collections.abc import Iterator
from pathlib import Path

TOP = Path(__file__).parents[2]
PAGES = (*sorted(TOP.glob("*.md")), *sorted((TOP / "docs").rglob("*.md")))

FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
CODE = re.compile(r"`([^`\n]+)`")
FILE = re.compile(r"[\w.-]+(?:/[\w.-]+)*/?[\w-]*\.(?:py|sql|md|toml|json|yaml|lock|svg)")
MAKE = re.compile(r"\bmake ([a-z][a-z-]*)")
NAMED_IN = re.compile(r"`(\w+(?:\.\w+)?)`\s+\(`([\w/]+\.(?:py|sql))`\)")
"""A name of the code with the file that has it, as the documents write it: `take_batch` (`store/log/batch.py`)."""


def read_prose(page: Path) -> str:
    return FENCE.sub("", page.read_text())


def find_links(page: Path) -> Iterator[tuple[str, str]]:
    """Yield path and anchor of each relative link."""
    for target in LINK.findall(read_prose(page)):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            yield path, anchor


def find_anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        for heading in HEADING.findall(read_prose(page))
    }


def list_faults(page: Path, faults: list[str]) -> list[str]:
    return [f"{page.relative_to(TOP)}: {fault}" for fault in faults]


def test_every_relative_link_leads_to_a_file_and_a_heading() -> None:
    broken: list[str] = []
    for page in PAGES:
        for path, anchor in find_links(page):
            target = page.parent / path if path else page
            if not target.exists() or (anchor and anchor not in find_anchors(target)):
                broken += list_faults(page, [f"{path}#{anchor}"])
    assert not broken


def test_every_file_that_a_page_names_with_its_folder_exists() -> None:
    missing: list[str] = []
    for page in PAGES:
        named = {text for text in CODE.findall(read_prose(page)) if FILE.fullmatch(text) and "/" in text}
        missing += list_faults(page, sorted(text for text in named if not (TOP / text).exists()))
    assert not missing


def test_every_make_target_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (TOP / "Makefile").read_text(), re.MULTILINE))
    unknown: list[str] = []
    for page in PAGES:
        said = "\n".join((*CODE.findall(page.read_text()), *FENCE.findall(page.read_text())))
        unknown += list_faults(page, sorted(set(MAKE.findall(said)) - targets))
    assert not unknown


def test_every_name_that_a_page_places_in_a_file_stands_there() -> None:
    absent: list[str] = []
    for page in PAGES:
        for name, path in NAMED_IN.findall(read_prose(page)):
            source = (TOP / path).read_text() if (TOP / path).exists() else ""
            lacking = [part for part in name.split(".") if not re.search(rf"\b{part}\b", source)]
            absent += list_faults(page, [f"{name} in {path}"] if lacking else [])
    assert not absent
