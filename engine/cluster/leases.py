"""Leases: which runs an engine has in hand, written behind the work and in batches, so that a short run needs none.

A lease keeps others from taking a run over; it does not decide who may move it, which the log's expected version does.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple
from uuid import UUID

import structlog

from store.errors import Unavailable
from store.log.appender import back_off_seconds
from store.postgres.connections import Sessions

TAKE: Final = """
with alive as materialized (select live_engines() as epoch)
insert into run_leases (run_id, epoch)
select run_id, %(epoch)b from unnest(%(runs)b::uuid[]) as run_id order by run_id
on conflict (run_id) do update set epoch = excluded.epoch
 where run_leases.epoch = excluded.epoch or run_leases.epoch not in (select epoch from alive)
returning run_id
"""
"""Take runs in hand, except those that another live engine has."""

LET_GO: Final = "delete from run_leases where epoch = %(epoch)b and run_id = any(%(runs)b::uuid[])"
"""Let runs go."""

ABANDONED: Final = """
with alive as materialized (select live_engines() as epoch)
select r.id, r.workspace_id
  from runs r
 where r.status in ('queued', 'running')
   and r.workspace_id <> all(%(beside)b::uuid[])
   and r.updated_at < now() - make_interval(secs => %(grace)b)
   and not exists (select from run_leases l where l.run_id = r.id and l.epoch in (select epoch from alive))
   and r.id > %(after)b
 order by r.id
 limit %(limit)b
"""
"""Read a page of the runs under way that no live engine has in hand; those that wait are not looked at."""

ABANDONED_WAITING: Final = """
with alive as materialized (select live_engines() as epoch)
select r.id, r.workspace_id
  from runs r
 where r.status = 'waiting'
   and r.workspace_id <> all(%(beside)b::uuid[])
   and r.document::text like '%%"waiting_for":"child"%%'
   and not exists (select from run_leases l where l.run_id = r.id and l.epoch in (select epoch from alive))
   and r.id > %(after)b
 order by r.id
 limit %(limit)b
"""
"""Read a page of the runs that wait for what only an engine can have seen that is no more: the end of a child. It looks
at every run that waits, so it is asked only when an engine has begun or gone."""

ABANDONED_ENDING: Final = """
with alive as materialized (select live_engines() as epoch)
select r.id, r.workspace_id
  from runs r
 where r.status in ('queued', 'running', 'waiting')
   and r.document::text like '%%"cancel_requested":true%%'
   and not exists (select from run_leases l where l.run_id = r.id and l.epoch in (select epoch from alive))
   and r.id > %(after)b
 order by r.id
 limit %(limit)b
"""
"""Read a page of the runs that somebody wants to end, told to an engine that is no more. It looks at every run that
has not ended, so it is asked only when an engine has begun or gone."""


class Left(NamedTuple):
    """A run that nobody has in hand."""

    run_id: UUID
    workspace_id: UUID


class Leases:
    """The leases of one engine in one epoch. `run` must be running."""

    def __init__(self, sessions: Sessions, epoch: int, delay_seconds: float) -> None:
        """Hold none yet. A run gets its lease once it has been in hand for `delay_seconds`, up to twice that."""
        self._sessions = sessions
        self._epoch = epoch
        self._delay_seconds = delay_seconds
        self._in_hand: set[UUID] = set()
        self._fresh: set[UUID] = set()
        self._held: set[UUID] = set()
        self._released: set[UUID] = set()
        self._due = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()

    def began(self, run_id: UUID) -> None:
        """Say that a run is in hand."""
        self._in_hand.add(run_id)
        self._released.discard(run_id)
        if run_id not in self._held:
            self._fresh.add(run_id)
            self._due.set()

    def ended(self, run_id: UUID) -> None:
        """Say that a run is no longer in hand."""
        self._in_hand.discard(run_id)
        self._fresh.discard(run_id)
        if run_id in self._held:
            self._released.add(run_id)
            self._due.set()

    def holds(self, run_id: UUID) -> bool:
        """Tell whether the others still take a run to be in this engine's hand."""
        return run_id in self._held

    async def take(self, run_ids: Iterable[UUID]) -> set[UUID]:
        """Take leases now and give those that are ours. Raises Unavailable."""
        wanted = list(run_ids)
        async with self._one_at_a_time:
            if all(run_id in self._held for run_id in wanted):
                return set(wanted)
            rows = await self._sessions.rows(TAKE, {"epoch": self._epoch, "runs": wanted})
            taken: set[UUID] = {row[0] for row in rows}
            self._held |= taken
            self._released |= taken - self._in_hand
            self._due.set()
        return taken

    async def abandoned(self, *, grace_seconds: float, beside: list[UUID], after: UUID, limit: int) -> list[Left]:
        """Give a page of the runs under way that nobody has in hand, but for some workspaces. Raises Unavailable."""
        parameters = {"grace": grace_seconds, "beside": beside, "after": after, "limit": limit}
        return [Left(*row) for row in await self._sessions.rows(ABANDONED, parameters)]

    async def abandoned_waiting(self, *, beside: list[UUID], after: UUID, limit: int) -> list[Left]:
        """Give a page of the runs whose wait may be over without anybody's knowing. Raises Unavailable."""
        parameters = {"beside": beside, "after": after, "limit": limit}
        return [Left(*row) for row in await self._sessions.rows(ABANDONED_WAITING, parameters)]

    async def abandoned_ending(self, *, after: UUID, limit: int) -> list[Left]:
        """Give a page of the runs that are to end and that nobody has in hand. Raises Unavailable."""
        return [Left(*row) for row in await self._sessions.rows(ABANDONED_ENDING, {"after": after, "limit": limit})]

    async def run(self, on_lost: Callable[[UUID], None]) -> None:
        """Write leases and let them go until cancelled; `on_lost` is told of a run in hand that another has."""
        failures = 0
        while True:
            await self._due.wait()
            self._due.clear()
            aging, self._fresh = self._fresh, set()
            await asyncio.sleep(self._delay_seconds)
            try:
                await self._write(aging & self._in_hand, on_lost)
                await self._let_go()
                failures = 0
            except Unavailable as away:
                failures += 1
                self._fresh |= aging & self._in_hand
                self._due.set()
                structlog.get_logger("engine").warning("engine.leases_not_written", reason=str(away))
                await asyncio.sleep(back_off_seconds(failures))

    async def _write(self, aged: set[UUID], on_lost: Callable[[UUID], None]) -> None:
        if not aged:
            return
        for lost in aged - await self.take(aged):
            if lost in self._in_hand:
                self._fresh.add(lost)
                on_lost(lost)

    async def _let_go(self) -> None:
        async with self._one_at_a_time:
            over = self._released - self._in_hand
            if over:
                await self._sessions.run(LET_GO, {"epoch": self._epoch, "runs": list(over)})
                self._held -= over
            self._released -= over
