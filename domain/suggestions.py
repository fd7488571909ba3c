"""“Did you mean …?” suggestions for error messages."""

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice
from typing import Final

NAMES_MAX: Final = 40
LONGEST_NAME: Final = 100
"""Longer names are not compared, because the comparison is quadratic in their lengths."""


def format_names(known: Iterable[str]) -> str:
    """Format known names for a message, up to 40 of them."""
    names = list(islice(known, NAMES_MAX + 1))
    return ", ".join(names[:NAMES_MAX]) + (", …" if len(names) > NAMES_MAX else "")


def suggest_name(name: str, known: Iterable[str], most: int = NAMES_MAX) -> str:
    """Return `; did you mean …?` with the most similar known name, or an empty string if none is similar."""
    similar = find_similar(name, known, most)
    return f"; did you mean {similar}?" if similar is not None else ""


def find_similar(name: str, known: Iterable[str], most: int = NAMES_MAX) -> str | None:
    """Return the known name that is most similar, of the first `most`; None if none is similar."""
    similar = get_close_matches(name, list(islice(known, most)), n=1) if len(name) <= LONGEST_NAME else []
    return similar[0] if similar else None
