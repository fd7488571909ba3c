"""The end of a command's `--help`: runnable examples and the exit codes."""

from typing import Final

OPERATOR_EXIT_CODES: Final = "0 success, 1 failed while running, 2 invalid input or settings"
"""The exit codes that all commands share; a command appends its own."""

PROCESS_EXIT_CODES: Final = "0 stopped by a signal, 1 a part failed, 2 could not start"


def format_epilog(*lines: str, exit_codes: str) -> str:
    """Format the epilog of a help text. Lines are separated by empty ones, or rich-click would join them."""
    return "\n\n".join((*(f"$ callsheet {line}" for line in lines), f"Exit codes: {exit_codes}."))
