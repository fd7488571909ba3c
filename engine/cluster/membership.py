"""Membership: the engines that share the runs of a log, who of them is alive, and which of them a new run prefers.

An engine joins under an epoch of its own. It holds an advisory lock on the epoch as long as its session lasts, so
that one that was killed is known to be gone at once, and renews a row, so that one whose machine has vanished is gone
when its time has passed.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from hashlib import blake2b
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg import AsyncConnection

from store.postgres.connections import add_bounds, open_connection

LOCK_CLASS: Final = 0x65_6E_67_69  # "engi"; the migrations name it too

EPOCH: Final = "select nextval('engine_epochs')"
"""Take the next epoch: facts say in which one a step was claimed."""

LOCK: Final = "select pg_advisory_lock(%s, %s::int)"
"""Hold the epoch for as long as the connection lives."""

JOIN: Final = """
insert into engines (epoch, name, until) values (%(epoch)s, %(name)s, now() + make_interval(secs => %(lease)s))
"""
"""Be one of the engines."""

BEAT: Final = """
update engines set until = now() + make_interval(secs => %(lease)s) where epoch = %(epoch)s
"""
"""Go on being one of them; changes nothing when the others have given this one up."""

LIVE: Final = "select live_engines()"
"""Read who is alive."""

DEAD: Final = "select count(*) from engines where epoch not in (select live_engines())"
"""Count the engines that went without a word."""

BURY: Final = """
with gone as (
    delete from engines
     where epoch in (select epoch from engines where epoch not in (select live_engines()) for update skip locked)
    returning epoch
)
delete from run_leases where epoch in (select epoch from gone) or epoch not in (select epoch from engines)
"""
"""Remove the engines that went without a word, with what they had in hand."""

LEAVE: Final = """
with gone as (delete from engines where epoch = %(epoch)s returning epoch)
delete from run_leases where epoch in (select epoch from gone)
"""
"""Stop being one of them, and let all runs go."""


class MembershipLost(psycopg.OperationalError):
    """The other engines have given this one up, or it could not renew its row in time: its runs are theirs now."""


class Membership:
    """This engine among those that are alive; `beat` keeps it so."""

    def __init__(self, connection: AsyncConnection[tuple[Any, ...]], epoch: int, lease_seconds: float) -> None:
        """Take an open connection that holds the epoch's lock."""
        self._connection = connection
        self.epoch = epoch
        self.live: tuple[int, ...] = (epoch,)
        self._lease_seconds = lease_seconds

    @property
    def is_alone(self) -> bool:
        """Tell whether no other engine is alive."""
        return len(self.live) == 1

    def prefers(self, run_id: UUID) -> bool:
        """Tell whether a run that nobody has in hand falls to this engine (rendezvous hashing, Thaler 1996)."""
        return len(self.live) == 1 or max(self.live, key=lambda epoch: _weight(run_id, epoch)) == self.epoch

    def is_gone(self, epoch: int) -> bool:
        """Tell whether an engine that joined earlier is no more; of a later one this engine may not know yet."""
        return epoch < self.epoch and epoch not in self.live

    async def beat(self) -> bool:
        """Renew the row and see who is alive; true when somebody has gone. Raises MembershipLost, OperationalError."""
        try:
            async with asyncio.timeout(self._lease_seconds):
                return await self._beat()
        except TimeoutError as late:
            raise MembershipLost("the database did not answer within the time of a lease") from late

    async def _beat(self) -> bool:
        beat = await self._connection.execute(BEAT, {"epoch": self.epoch, "lease": self._lease_seconds})
        if beat.rowcount != 1:
            raise MembershipLost("the other engines have given this one up")
        rows = await (await self._connection.execute(LIVE)).fetchall()
        before, self.live = self.live, tuple(row[0] for row in rows)
        if self.epoch not in self.live:
            raise MembershipLost("the lock of this engine's epoch is gone")
        dead = await (await self._connection.execute(DEAD)).fetchone()
        if dead is not None and dead[0]:
            await self._connection.execute(BURY)
        return not set(before) <= set(self.live)

    async def leave(self) -> None:
        """Tell the others at once that this one goes; without it they would find out."""
        with suppress(psycopg.Error, TimeoutError):
            async with asyncio.timeout(self._lease_seconds):
                await self._connection.execute(LEAVE, {"epoch": self.epoch})


def _weight(run_id: UUID, epoch: int) -> bytes:
    return blake2b(run_id.bytes + epoch.to_bytes(8), digest_size=8).digest()


@asynccontextmanager
async def joined(conninfo: str, name: str, lease_seconds: float) -> AsyncGenerator[Membership]:
    """Be one of the engines of a log for as long as the block lasts. Raises MembershipLost, OperationalError."""
    patience = add_bounds(
        conninfo, statement_timeout_ms=int(lease_seconds * 1_000), application_name="callsheet-engine"
    )
    async with open_connection(patience) as connection:
        row = await (await connection.execute(EPOCH)).fetchone()
        if row is None:
            raise TypeError("nextval answered nothing")
        await connection.execute(LOCK, [LOCK_CLASS, row[0]])
        await connection.execute(JOIN, {"epoch": row[0], "name": name, "lease": lease_seconds})
        membership = Membership(connection, row[0], lease_seconds)
        try:
            await membership.beat()
            yield membership
        finally:
            await membership.leave()
