"""Start the embedded PostgreSQL again when it has died under a process that uses it."""

import asyncio
from typing import Final, Never

import structlog

from callsheet.embedded.postgres import EmbeddedPostgres
from callsheet.embedded.programs import EmbeddedUnusable
from store.postgres.monitor import DatabaseMonitor

LOOK_SECONDS: Final = 0.5


async def keep_running(server: EmbeddedPostgres, monitor: DatabaseMonitor) -> Never:
    """Start the server whenever the monitor misses it and its process is gone, until cancelled.

    A server that is stopped or in recovery is left alone: its process lives. One that does not start is tried again.
    """
    log = structlog.get_logger("callsheet")
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        if monitor.outage is None or monitor.outage.is_readable or server.is_running():
            continue
        log.warning("embedded.died", directory=str(server.directory))
        try:
            await asyncio.to_thread(server.start)
        except EmbeddedUnusable as fault:
            log.error("embedded.not_started", reason=str(fault))  # noqa: TRY400  # its message is for people
        else:
            log.warning("embedded.restarted", directory=str(server.directory))
