"""What the three expression languages share: their one fault, and bounds on the data that they are given.

Conditions (CEL), templates (Liquid) and queries (JMESPath) are compiled once and evaluated many times. Each language
is imported only in the `expressions_*` module of its name, so that a library can be exchanged in one place.
"""

from collections.abc import Collection, Generator
from contextlib import contextmanager
from typing import cast

LONGEST_QUOTE = 200
DEEPEST_DATA = 100


class ExpressionFault(Exception):  # noqa: N818  # the word of the glossary: a fault lies in what an author wrote
    """An expression cannot be compiled, or cannot be evaluated with this data."""

    def __init__(self, message: str) -> None:
        """Keep a message of one line that may be shown to the author."""
        super().__init__(message)
        self.message = message


def quoted(text: str) -> str:
    """Shorten what an author wrote, so that no message grows with its cause."""
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}…"


@contextmanager
def faults_of(language: str) -> Generator[None]:
    """Turn whatever an expression library raises into an ExpressionFault.

    These libraries leak TypeError, RecursionError, MemoryError and others on odd input; a Rust panic arrives as a
    BaseException. All of them mean that this expression cannot be used with this data.
    """
    try:
        yield
    except ExpressionFault:
        raise
    except Exception as fault:
        raise ExpressionFault(f"{language}: {_first_line(fault)}") from fault
    except BaseException as panic:
        if type(panic).__name__ != "PanicException":
            raise
        raise ExpressionFault(f"{language}: the expression cannot be used") from panic


def _first_line(fault: Exception) -> str:
    if isinstance(fault, RecursionError):
        return "too deeply nested"
    if isinstance(fault, KeyError):
        return f"{quoted(str(fault))} is absent"
    lines = str(fault).strip().splitlines()
    return quoted(lines[0].removesuffix(", for expression:").rstrip(":")) if lines else type(fault).__name__


def meant_as_template(source: str) -> str:
    """Say, for the end of a message, that an author took another language for that of templates; mostly nothing."""
    return "; {{ }} are for templates, here names stand without them" if "{{" in source else ""


def is_within(data: object, *, most_items: int, longest: int, deepest: int = DEEPEST_DATA) -> bool:
    """Say whether JSON data keeps to bounds: items in all, items of one list or object, and depth.

    Level by level, so that deep data cannot exhaust the stack here (it would end the process inside the CEL library).
    """
    level = [data]
    seen = 0
    for _ in range(deepest):
        below: list[object] = []
        for item in level:
            inner = items_of(item)
            if len(inner) > longest:
                return False
            below.extend(inner)
        if not below:
            return True
        seen += len(below)
        if seen > most_items:
            return False
        level = below
    return False


def items_of(value: object) -> Collection[object]:
    """Give what stands in a list or an object, nothing for any other JSON value."""
    if isinstance(value, dict):
        return cast("dict[str, object]", value).values()
    return cast("list[object]", value) if isinstance(value, list) else ()
