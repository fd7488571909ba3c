"""What stands at the end of a command's `--help`: commands that can be typed as they are, and what exit codes mean."""

from typing import Final

OF_OPERATORS: Final = "0 answered and all is well, 1 it failed on the way, 2 it could not begin"
"""The exit codes that all commands share; what else one has is added to them."""

OF_PROCESSES: Final = "0 it was told to stop, 1 a part died, 2 it could not begin"


def examples(*lines: str, exit_codes: str) -> str:
    """Write the end of a help text; an empty line is what rich-click asks for between two that it is not to join."""
    return "\n\n".join((*(f"$ callsheet {line}" for line in lines), f"Exit codes: {exit_codes}."))
