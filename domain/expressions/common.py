"""Shared by the three expression languages: their one exception, and bounds on the data that they receive.

Conditions (CEL), templates (Liquid) and queries (JMESPath) are compiled once and evaluated many times. Each language
library is imported only by the modules of its language, so that it can be replaced in one place.
"""

from collections.abc import Generator
from contextlib import contextmanager

LONGEST_QUOTE = 200


class ExpressionFault(Exception):  # noqa: N818  # the glossary's word for a mistake of the graph's author
    """An expression cannot be compiled, or cannot be evaluated with this data."""

    def __init__(self, message: str) -> None:
        """Create it with a message of one line that may be shown to the author."""
        super().__init__(message)
        self.message = message


def shorten(text: str) -> str:
    """Shorten what an author wrote, so that no message grows with its cause."""
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}…"


@contextmanager
def translate_errors(language: str) -> Generator[None]:
    """Convert any exception of an expression library to an ExpressionFault.

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
        return f"{shorten(str(fault))} is absent"
    lines = str(fault).strip().splitlines()
    return shorten(lines[0].removesuffix(", for expression:").rstrip(":")) if lines else type(fault).__name__


def hint_at_template(source: str) -> str:
    """Return a hint for the end of a message if the source looks like a template; empty otherwise."""
    return "; {{ }} are for templates, write names without them here" if "{{" in source else ""
