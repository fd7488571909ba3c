"""What the log forgets: command ids past their retention, a bounded number at a time."""

import asyncio
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, Never

import structlog
from msgspec import Struct

from store.errors import Unavailable
from store.postgres.connections import Sessions

PRUNE: Final = """
delete from command_ids
 where command_id in (select command_id from command_ids where recorded_at < %b limit %b for update skip locked)
"""
"""Forget some command ids that were recorded before a moment."""


class RetentionBounds(Struct, frozen=True, kw_only=True):
    """How long command ids are kept, and how much work forgetting them may be at a time."""

    command_ids_seconds: float = 24 * 3600
    every_seconds: float = 60
    at_most: int = 1_000


async def prune_command_ids(sessions: Sessions, *, before: datetime, at_most: int) -> int:
    """Forget command ids recorded before a moment and give how many went; as many as `at_most`: call again.

    A command that is sent again after that is taken as a new one: the retention is the promise. Raises Unavailable.
    """
    return await sessions.run(PRUNE, (before, at_most))


async def keep_pruned(sessions: Sessions, bounds: RetentionBounds, clock: Callable[[], datetime]) -> Never:
    """Forget command ids as they pass their retention, until cancelled. Any number of processes may do so at once."""
    log = structlog.get_logger("store.retention")
    while True:
        before = clock() - timedelta(seconds=bounds.command_ids_seconds)
        try:
            while await prune_command_ids(sessions, before=before, at_most=bounds.at_most) >= bounds.at_most:
                pass
        except Unavailable as fault:
            log.warning("retention.postponed", reason=str(fault))
        await asyncio.sleep(bounds.every_seconds * random.uniform(0.5, 1.5))  # noqa: S311  # spreads processes out
