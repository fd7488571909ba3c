"""Find out whether a restore has rewound the log, by what is remembered outside of it, and begin a new epoch then.

A database that is restored from a backup comes back with its id and with an older head. What remembers more is a
`Witness`: the last message of the relay's stream, the checkpoint file of a process, or the memory of a running process.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import structlog
from msgspec import Struct
from psycopg import AsyncConnection

from store.log.identity import LogEpoch, LogIdentity

Connection = AsyncConnection[tuple[Any, ...]]

IDENTITY: Final = """
select h.log_id, h.position, e.tag, e.after, e.began_at, e.reason
  from log_head h cross join log_epochs e order by e.number
"""
"""Read the log's id, its head and its epochs in one snapshot."""

FACT: Final = """
select originator_id, originator_version, recorded_at from events where notification_id = %(position)b::bigint
"""
"""Read what identifies the fact at a position."""

LAST_FACT: Final = """
select notification_id, originator_id, originator_version, recorded_at from events
 order by notification_id desc limit 1
"""
"""Read what identifies the last fact."""

NEXT_FACT: Final = """
select notification_id, recorded_at from events
 where notification_id >= %(position)b::bigint order by notification_id limit 1
"""
"""Read when the fact at a position, or the next one if it is missing, was recorded."""

BEGIN: Final = "select begin_epoch(%(seen)b, %(tag)b, %(after)b::bigint, %(why)b)"
"""Begin an epoch unless another process has begun one (see 0005_epochs.sql)."""


class LogRewound(Exception):  # noqa: N818  # expected after a restore: the process starts again
    """The log was rewound, or a new epoch began: all that this process holds in memory may be wrong."""

    def __init__(self, reason: str, witness: "Witness | None" = None) -> None:
        """Keep the last known fact of the log for the next start."""
        super().__init__(reason)
        self.witness = witness


class Mark(Struct, frozen=True, kw_only=True):
    """Identity of a fact: its position in the log and its version in its stream, and when it was recorded."""

    position: int
    stream_id: UUID
    version: int
    recorded_at: datetime


class Witness(Struct, frozen=True, kw_only=True):
    """A fact that was in the log once, with the tag of its epoch, and where that is recorded."""

    log_id: UUID
    tag: str
    mark: Mark
    origin: str


class LogState(Struct, frozen=True, kw_only=True):
    """The identity of a log and its head."""

    identity: LogIdentity
    head: int


class Rewind(Struct, frozen=True, kw_only=True):
    """A rewound log: the last position that is as it was before, and how it was noticed."""

    after: int
    reason: str


async def read_state(connection: Connection) -> LogState:
    """Read the identity and the head of the log."""
    rows = await (await connection.execute(IDENTITY)).fetchall()
    epochs = tuple(LogEpoch(tag=tag, after=after, began_at=at, reason=why) for _, _, tag, after, at, why in rows)
    return LogState(identity=LogIdentity(log_id=rows[0][0], epochs=epochs), head=rows[0][1])


async def read_last_mark(connection: Connection) -> Mark | None:
    """Return what identifies the last fact of the log; None if it is empty."""
    row = await (await connection.execute(LAST_FACT)).fetchone()
    if row is None:
        return None
    position, stream_id, version, recorded_at = row
    return Mark(position=position, stream_id=stream_id, version=version, recorded_at=recorded_at)


async def find_rewind(connection: Connection, state: LogState, witness: Witness) -> Rewind | None:
    """Compare the log with a witness; return None if it was not rewound, or if an epoch began since for that reason."""
    identity, mark = state.identity, witness.mark
    if witness.log_id != identity.log_id:
        structlog.get_logger("store.epochs").warning("log.witness_of_another_log", origin=witness.origin)
        return None
    valid = identity.find_valid_position(witness.tag, mark.position)
    if valid is None and identity.is_later(identity.tag, than=witness.tag):
        return None
    if valid is not None and valid < mark.position:
        return None
    head = state.head
    if mark.position > head:
        head = (await read_state(connection)).head  # the state may be older than the witness, in a log that grows
    if mark.position > head:
        reason = f"the log ends at {head}, and {witness.origin} has position {mark.position}"
    elif await _is_same_fact(connection, mark):
        if valid is not None:
            return None
        reason = f"{witness.origin} has the epoch {witness.tag}, which the log does not know"
    else:
        reason = f"position {mark.position} has another fact than {witness.origin}"
    last = min(head, mark.position if valid is None else mark.position - 1)
    return Rewind(after=await _find_last_before(connection, last, mark.recorded_at), reason=reason)


async def _is_same_fact(connection: Connection, mark: Mark) -> bool:
    """Return whether the log has a fact as the witness recorded it; a missing row alone does not mean a restore."""
    row = await (await connection.execute(FACT, {"position": mark.position})).fetchone()
    return row is None or row == (mark.stream_id, mark.version, mark.recorded_at)


async def _find_last_before(connection: Connection, last: int, recorded_at: datetime) -> int:
    """Return the last position, up to `last`, that was recorded no later than a time; times grow with positions.

    What was appended since the restore was recorded after the witness, so this finds the restore point.
    """
    low, high = 0, last
    while low < high:
        middle = (low + high + 1) // 2
        row = await (await connection.execute(NEXT_FACT, {"position": middle})).fetchone()
        if row is not None and row[0] <= last and row[1] <= recorded_at:
            low = min(last, row[0])
        else:
            high = middle - 1
    return low


def create_tag(identity: LogIdentity, now_ms: int, tags: Iterable[str] = ()) -> str:
    """Return the tag of the next epoch: the time, and greater than the tags of all later epochs that are known."""
    first = identity.epochs[0].tag
    known = [epoch.tag for epoch in identity.epochs] + list(tags)
    return f"{max([now_ms, *(int(tag, 16) + 1 for tag in known if tag != first)]):012x}"


async def begin_epoch(connection: Connection, state: LogState, rewind: Rewind, tag: str) -> bool:
    """Begin an epoch after a position; return False if another process has begun one since `state` was read."""
    began = await (
        await connection.execute(
            BEGIN, {"seen": state.identity.tag, "tag": tag, "after": rewind.after, "why": rewind.reason}
        )
    ).fetchone()
    if began is None or not began[0]:
        return False
    structlog.get_logger("store.epochs").error("log.epoch_began", tag=tag, after=rewind.after, reason=rewind.reason)
    return True


async def reconcile(connection: Connection, witnesses: Iterable[Witness], now_ms: int) -> LogIdentity:
    """Compare the log with witnesses, and begin an epoch if it was rewound; return the identity after that."""
    state = await read_state(connection)
    for witness in witnesses:
        rewind = await find_rewind(connection, state, witness)
        if rewind is not None:
            await begin_epoch(connection, state, rewind, create_tag(state.identity, now_ms, [witness.tag]))
            state = await read_state(connection)
    return state.identity
