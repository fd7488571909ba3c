"""Status of the relay for operators and metrics: its lag behind the head of the log, and the process that relays."""

from datetime import datetime
from typing import Any, Final

from msgspec import Struct
from psycopg import AsyncConnection

from store.log.readers import read_ages
from store.postgres.lock_status import NOBODY, LockHolder, read_lock_status

LOCK: Final = 1919251553
"""The kind of the role "publishes facts to a carrier"; see `store/postgres/exclusive.py`."""

SESSION_LABEL: Final = "callsheet-relay"

CURSOR_AND_HEAD: Final = """
select h.position, c.position, c.moved_at
  from log_head h
  left join relay_cursors c on c.carrier = %b
"""
"""Read the head and the cursor in one snapshot."""


class RelayStatus(Struct, frozen=True, kw_only=True):
    """Progress of the relay; `begun` is false if nothing was ever relayed.

    `lag_seconds` is the age of the oldest fact that is not known to be published.
    """

    head: int
    begun: bool
    cursor: int
    moved_at: datetime | None
    lag_events: int
    lag_seconds: float
    holder: LockHolder | None
    standing_by: int


async def read_relay_status(connection: AsyncConnection[tuple[Any, ...]], carrier: str = "nats") -> RelayStatus:
    """Return the position and lag of the relay, and the process that holds it."""
    row = await (await connection.execute(CURSOR_AND_HEAD, [carrier])).fetchone()
    head, cursor, moved_at = row or (0, None, None)
    next_position = (cursor or 0) + 1
    ages = await read_ages(connection, [next_position]) if next_position <= head else {}
    lock = (await read_lock_status(connection, LOCK, SESSION_LABEL)).get("", NOBODY)
    return RelayStatus(
        head=head,
        begun=cursor is not None,
        cursor=cursor or 0,
        moved_at=moved_at,
        lag_events=head - (cursor or 0),
        lag_seconds=max(0.0, ages.get(next_position, 0.0)),
        holder=lock.holder,
        standing_by=lock.standing_by,
    )
