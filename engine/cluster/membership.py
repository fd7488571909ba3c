"""Membership: which engines share the runs of a log, which of them are alive, and which one owns a new run.

An engine joins under an epoch of its own. It holds an advisory lock on the epoch for as long as its session lasts, so
a killed process is noticed at once, and renews a row, so a machine that vanished is noticed when the row expires.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from hashlib import blake2b
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg import AsyncConnection

from store.errors import Unavailable
from store.postgres.connections import OpenConnections, add_bounds, open_connection, translate_outages

LOCK_CLASS: Final = 0x65_6E_67_69  # "engi"; the migrations name it too

NEXT_EPOCH: Final = "select nextval('engine_epochs')"
"""Take the next epoch: facts record in which one a step was claimed."""

LOCK: Final = "select pg_advisory_lock(%s, %s::int)"
"""Lock the epoch for as long as the connection lives."""

JOIN: Final = """
insert into engines (epoch, name, until) values (%(epoch)s, %(name)s, now() + make_interval(secs => %(lease)s))
"""
"""Join the engines."""

RENEW: Final = """
update engines set until = now() + make_interval(secs => %(lease)s) where epoch = %(epoch)s
"""
"""Renew the membership; no row is updated when the others have removed it."""

LIST_LIVE: Final = "select live_engines()"
"""Read the epochs of the live engines."""

COUNT_DEAD: Final = "select count(*) from engines where epoch not in (select live_engines())"
"""Count the engines that died without leaving."""

REMOVE_DEAD: Final = """
with gone as (
    delete from engines
     where epoch in (select epoch from engines where epoch not in (select live_engines()) for update skip locked)
    returning epoch
)
delete from run_leases where epoch in (select epoch from gone) or epoch not in (select epoch from engines)
"""
"""Remove the engines that died without leaving, with their leases."""

LEAVE: Final = """
with gone as (delete from engines where epoch = %(epoch)s returning epoch)
delete from run_leases where epoch in (select epoch from gone)
"""
"""Leave the engines and release all leases."""


class MembershipLost(Unavailable):
    """The engine did not renew its membership in time, or the others have removed it: its runs are theirs now."""


class Membership:
    """This engine's place among the live engines. `send_heartbeat` must be called within every `lease_seconds`."""

    def __init__(self, connection: AsyncConnection[tuple[Any, ...]], epoch: int, lease_seconds: float) -> None:
        """Use an open connection that holds the epoch's lock."""
        self._connection = connection
        self.epoch = epoch
        self.live_epochs: tuple[int, ...] = (epoch,)
        self._lease_seconds = lease_seconds

    @property
    def is_alone(self) -> bool:
        """Return whether no other engine is alive."""
        return len(self.live_epochs) == 1

    def prefers(self, run_id: UUID) -> bool:
        """Return whether this engine should drive an unowned run (rendezvous hashing, Thaler 1996)."""
        return self.is_alone or max(self.live_epochs, key=lambda epoch: _compute_weight(run_id, epoch)) == self.epoch

    def is_gone(self, epoch: int) -> bool:
        """Return whether an engine that joined earlier is dead; False for a later one, perhaps not seen here yet."""
        return epoch < self.epoch and epoch not in self.live_epochs

    async def send_heartbeat(self) -> bool:
        """Renew the membership and read who is alive; return whether an engine has gone.

        Raises MembershipLost, DatabaseAway.
        """
        with translate_outages():
            async with asyncio.timeout(self._lease_seconds):
                return await self._send_heartbeat()

    async def _send_heartbeat(self) -> bool:
        renewed = await self._connection.execute(RENEW, {"epoch": self.epoch, "lease": self._lease_seconds})
        if renewed.rowcount != 1:
            raise MembershipLost("the other engines have removed this one")
        rows = await (await self._connection.execute(LIST_LIVE)).fetchall()
        before, self.live_epochs = self.live_epochs, tuple(row[0] for row in rows)
        if self.epoch not in self.live_epochs:
            raise MembershipLost("the lock of this engine's epoch is lost")
        dead = await (await self._connection.execute(COUNT_DEAD)).fetchone()
        if dead is not None and dead[0]:
            await self._connection.execute(REMOVE_DEAD)
        return not set(before) <= set(self.live_epochs)

    async def leave(self) -> None:
        """Leave at once; without it the others notice when the session ends."""
        with suppress(psycopg.Error, TimeoutError):
            async with asyncio.timeout(self._lease_seconds):
                await self._connection.execute(LEAVE, {"epoch": self.epoch})


def _compute_weight(run_id: UUID, epoch: int) -> bytes:
    return blake2b(run_id.bytes + epoch.to_bytes(8), digest_size=8).digest()


@asynccontextmanager
async def join_engines(
    conninfo: str, name: str, lease_seconds: float, among: OpenConnections | None = None
) -> AsyncGenerator[Membership]:
    """Join the engines of a log until the end of the block; the connection is added to `among`, if given.

    Raises MembershipLost, DatabaseAway.
    """
    conninfo = add_bounds(
        conninfo, statement_timeout_ms=int(lease_seconds * 1_000), application_name="callsheet-engine"
    )
    async with open_connection(conninfo, among) as connection:
        row = await (await connection.execute(NEXT_EPOCH)).fetchone()
        if row is None:
            raise TypeError("nextval returned no row")
        await connection.execute(LOCK, [LOCK_CLASS, row[0]])
        await connection.execute(JOIN, {"epoch": row[0], "name": name, "lease": lease_seconds})
        membership = Membership(connection, row[0], lease_seconds)
        try:
            await membership.send_heartbeat()
            yield membership
        finally:
            await membership.leave()
