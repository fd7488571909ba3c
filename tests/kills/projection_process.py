"""`callsheet project`, which kills itself at a point of its work: `python -m tests.kills.projection_process`.

KILL_AT says where, as for engines (`tests/kills/engine_process.py`).
"""

import os

import uvloop

from callsheet.secrets import secret_of
from callsheet.serve import serve
from callsheet.settings import load_settings
from callsheet.telemetry import configure_logging
from callsheet.wiring import Part
from projections.following import go_on
from tests.kills.engine_process import VARIABLE, killer


async def main() -> None:
    """Be a worker of all projections until told to stop, or until the point."""
    settings = load_settings(os.environ)
    configure_logging(settings.log.level, settings.log.renderer)
    conninfo = settings.data.database_url
    if conninfo is None:
        raise TypeError("a worker apart needs a database")
    reached = killer(os.environ[VARIABLE]) if VARIABLE in os.environ else go_on
    await serve(settings, conninfo, secret_of(settings), frozenset({Part.PROJECTIONS}), reached=reached)


if __name__ == "__main__":
    uvloop.run(main())
