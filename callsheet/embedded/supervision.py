"""Start the embedded PostgreSQL again when it has died under a process that uses it."""

import asyncio
import subprocess
from typing import Final, Never

import psycopg
import structlog

from callsheet.embedded.postgres import EmbeddedPostgres
from callsheet.embedded.programs import EmbeddedUnusable
from store.postgres.monitor import DatabaseMonitor

LOOK_SECONDS: Final = 0.5


async def keep_running(server: EmbeddedPostgres, monitor: DatabaseMonitor) -> Never:
    """Start the server whenever the monitor misses it and its process has died, until cancelled.

    A server that is stopped by a signal or in recovery is left alone: its process lives. So is one that was shut down
    in order, such as for a restore of its files: it leaves no `postmaster.pid` behind. One that does not start is tried
    again.
    """
    log = structlog.get_logger("callsheet")
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        if monitor.outage is None or monitor.outage.is_readable or not server.has_died():
            continue
        log.warning("embedded.died", directory=str(server.directory))
        try:
            await asyncio.to_thread(server.start)
        except (EmbeddedUnusable, OSError, psycopg.Error, subprocess.SubprocessError) as fault:
            log.error("embedded.not_started", reason=str(fault))  # noqa: TRY400  # its message is for people
        else:
            log.warning("embedded.restarted", directory=str(server.directory))
