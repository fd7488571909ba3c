"""Progress messages on stderr, so that stdout holds only the result."""

import sys


def print_progress(text: str) -> None:
    """Print a progress message to stderr."""
    print(text, file=sys.stderr, flush=True)
