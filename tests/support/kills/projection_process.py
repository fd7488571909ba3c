"""`callsheet project`, which kills itself at a point of its work: `python -m tests.support.kills.projection_process`.

KILL_AT names the point, as for engines (`tests/support/kills/engine_process.py`); STOP_AT where it stops until SIGCONT.
"""

import os
import signal
from typing import Final

import uvloop

from callsheet.development_secret import load_signing_secret
from callsheet.server.serve import serve
from callsheet.settings.load import load_settings
from callsheet.telemetry.logging import configure_logging
from callsheet.wiring.core import Part
from store.failpoint import noop
from tests.support.kills.engine_process import VARIABLE, create_killer

STOP_VARIABLE: Final = "STOP_AT"


async def main() -> None:
    """Run a worker of all projections until SIGTERM, or until the failpoint."""
    settings = load_settings(os.environ)
    configure_logging(settings.log.level, settings.log.renderer)
    conninfo = settings.data.database_url
    if conninfo is None:
        raise TypeError("a worker apart needs a database")
    failpoint = noop
    for variable, number in ((VARIABLE, signal.SIGKILL), (STOP_VARIABLE, signal.SIGSTOP)):
        if variable in os.environ:
            failpoint = create_killer(os.environ[variable], number)
    await serve(settings, conninfo, load_signing_secret(settings), frozenset({Part.PROJECTIONS}), failpoint=failpoint)


if __name__ == "__main__":
    uvloop.run(main())
