"""`callsheet work`, which kills itself at a point of its work: `python -m tests.support.kills.engine_process`.

KILL_AT names the point and how often it is passed first: `step.claimed:2` dies the third time. Without it nobody dies.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Final

import uvloop

from callsheet.development_secret import load_signing_secret
from callsheet.server.serve import serve
from callsheet.settings.load import load_settings
from callsheet.telemetry.logging import configure_logging
from callsheet.wiring.core import Part
from store.failpoint import noop

VARIABLE: Final = "KILL_AT"


def format_last_words(point: str, number: signal.Signals = signal.SIGKILL) -> str:
    """Return the line that a process logs before its signal."""
    return f"{number.name} at {point}\n"


def create_killer(text: str, number: signal.Signals = signal.SIGKILL) -> Callable[[str], None]:
    """Return a failpoint hook that kills this process, as `kill -9` and the out-of-memory killer do, or stops it."""
    point, _, times = text.partition(":")
    left = int(times)

    def failpoint(name: str) -> None:
        nonlocal left
        if name != point:
            return
        left -= 1
        if left == -1:
            sys.stderr.write(format_last_words(name, number))
            os.kill(os.getpid(), number)

    return failpoint


async def main() -> None:
    """Run an engine until SIGTERM, or until the failpoint."""
    settings = load_settings(os.environ)
    configure_logging(settings.log.level, settings.log.renderer)
    conninfo = settings.data.database_url
    if conninfo is None:
        raise TypeError("an engine apart needs a database")
    failpoint = create_killer(os.environ[VARIABLE]) if VARIABLE in os.environ else noop
    await serve(settings, conninfo, load_signing_secret(settings), frozenset({Part.ENGINE}), failpoint=failpoint)


if __name__ == "__main__":
    uvloop.run(main())
