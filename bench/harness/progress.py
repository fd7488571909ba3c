"""What a bench says while it works: on stderr, so that stdout holds the result alone."""

import sys


def say(text: str) -> None:
    """Tell the person who waits what is being done."""
    print(text, file=sys.stderr, flush=True)
