"""Finding of a check of `callsheet doctor`: a sentence, and what to do if something is wrong."""

from enum import StrEnum

from msgspec import Struct


class Level(StrEnum):
    """Severity of a finding."""

    OK = "ok"
    NOTE = "note"
    """Nothing is wrong; an operator may want to know."""
    WRONG = "wrong"


class Finding(Struct, frozen=True, kw_only=True):
    """The result of one check."""

    check: str
    level: Level
    says: str
    do: str = ""


def find_ok(check: str, says: str) -> Finding:
    """Return a finding with which everything is well."""
    return Finding(check=check, level=Level.OK, says=says)


def find_note(check: str, says: str, do: str = "") -> Finding:
    """Return a finding that an operator may want to know."""
    return Finding(check=check, level=Level.NOTE, says=says, do=do)


def find_wrong(check: str, says: str, do: str) -> Finding:
    """Return a finding that an operator has to act on."""
    return Finding(check=check, level=Level.WRONG, says=says, do=do)
