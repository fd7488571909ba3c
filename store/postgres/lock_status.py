"""Status of the roles of `store/postgres/exclusive.py`: the holder, since when, and the number of standbys.

Holders are recognised by the application name of their session: a process that may hold a role calls `name_session`.
"""

import os
import socket
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from msgspec import Struct
from psycopg import AsyncConnection

APPLICATION_NAME_BYTES: Final = 63
"""PostgreSQL cuts an application name to this length."""

SESSIONS: Final = """
select a.application_name, a.pid, a.backend_start,
       exists (select from pg_locks l
                where l.pid = a.pid and l.locktype = 'advisory' and l.granted
                  and l.classid::bigint = %(lock)b::bigint)
  from pg_stat_activity a
 where a.datname = current_database() and starts_with(a.application_name, %(prefix)b::text)
 order by a.backend_start
"""
"""Read every session that may hold a role of one kind, and whether it does, the oldest first."""


class LockHolder(Struct, frozen=True, kw_only=True):
    """A process that holds a role, as `pid.host`, its PostgreSQL backend, and since when it has been connected."""

    process: str
    backend: int
    since: datetime


class LockStatus(Struct, frozen=True, kw_only=True):
    """The holder of a role, and the number of standby processes."""

    holder: LockHolder | None = None
    standing_by: int = 0


NOBODY: Final = LockStatus()


def name_session(label: str) -> str:
    """Return the application name for this process's session, `label@pid.host`, cut to what PostgreSQL keeps."""
    name = f"{label}@{os.getpid()}.{socket.gethostname()}"
    return name.encode()[:APPLICATION_NAME_BYTES].decode(errors="ignore")


async def read_lock_status(
    connection: AsyncConnection[tuple[Any, ...]], lock: int, prefix: str
) -> Mapping[str, LockStatus]:
    """Return the status of each role of one kind that any process is connected for.

    Keys are the labels of the sessions without `prefix`.
    """
    cursor = await connection.execute(SESSIONS, {"lock": lock, "prefix": prefix})
    holders: dict[str, LockHolder] = {}
    standing_by: dict[str, int] = {}
    for name, backend, since, holds in await cursor.fetchall():
        label, _, process = name.removeprefix(prefix).partition("@")
        if holds:
            holders.setdefault(label, LockHolder(process=process, backend=backend, since=since))
        else:
            standing_by[label] = standing_by.get(label, 0) + 1
    return {
        label: LockStatus(holder=holders.get(label), standing_by=standing_by.get(label, 0))
        for label in holders.keys() | standing_by.keys()
    }
