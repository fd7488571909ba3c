"""Leases: the runs that an engine drives, as the other engines see them.

A lease keeps other engines from taking a run over. It does not decide who may append to it: the expected version does.
Leases are written in batches behind the work, so that a short run never needs one.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final
from uuid import UUID

from store.errors import Unavailable
from store.outage_log import OutageLog
from store.postgres.connections import Sessions
from store.retrying import Retrying

ACQUIRE: Final = """
with alive as materialized (select live_engines() as epoch)
insert into run_leases (run_id, epoch)
select run_id, %(epoch)b from unnest(%(runs)b::uuid[]) as run_id order by run_id
on conflict (run_id) do update set epoch = excluded.epoch
 where run_leases.epoch = excluded.epoch or run_leases.epoch not in (select epoch from alive)
returning run_id
"""
"""Acquire the leases of runs, except those that another live engine holds."""

RELEASE: Final = "delete from run_leases where epoch = %(epoch)b and run_id = any(%(runs)b::uuid[])"
"""Release the leases of runs."""


class Leases:
    """The leases of one engine in one epoch. `run` must be running."""

    def __init__(self, sessions: Sessions, epoch: int, delay_seconds: float) -> None:
        """Hold no lease yet. A run gets one after it has been driven for `delay_seconds`, up to twice that."""
        self._sessions = sessions
        self._epoch = epoch
        self._delay_seconds = delay_seconds
        self._driven: set[UUID] = set()
        self._unwritten: set[UUID] = set()
        self._held: set[UUID] = set()
        self._to_release: set[UUID] = set()
        self._has_work = asyncio.Event()
        self._statement_lock = asyncio.Lock()

    def add(self, run_id: UUID) -> None:
        """Note that a run is driven from now on; its lease is written later."""
        self._driven.add(run_id)
        self._to_release.discard(run_id)
        if run_id not in self._held:
            self._unwritten.add(run_id)
            self._has_work.set()

    def remove(self, run_id: UUID) -> None:
        """Note that a run is no longer driven; its lease is released later."""
        self._driven.discard(run_id)
        self._unwritten.discard(run_id)
        if run_id in self._held:
            self._to_release.add(run_id)
            self._has_work.set()

    def is_held(self, run_id: UUID) -> bool:
        """Return whether this engine holds the lease of a run, also of one that is about to be released."""
        return run_id in self._held

    async def acquire(self, run_ids: Iterable[UUID]) -> set[UUID]:
        """Acquire leases at once; return the runs whose leases this engine then holds. Raises Unavailable."""
        wanted = list(run_ids)
        async with self._statement_lock:
            if all(run_id in self._held for run_id in wanted):
                return set(wanted)
            rows = await self._sessions.rows(ACQUIRE, {"epoch": self._epoch, "runs": wanted})
            acquired: set[UUID] = {row[0] for row in rows}
            self._held |= acquired
            self._to_release |= acquired - self._driven
            self._has_work.set()
        return acquired

    async def run(self, on_lost: Callable[[UUID], None]) -> None:
        """Write and release leases until cancelled; call `on_lost` for a driven run whose lease another engine has."""
        outages = OutageLog("engine", lost="engine.leases_not_written", back="engine.leases_written_again")
        while True:
            await self._has_work.wait()
            await Retrying(Unavailable, outages=outages).call(lambda: self._flush(on_lost))

    async def _flush(self, on_lost: Callable[[UUID], None]) -> None:
        self._has_work.clear()
        aging, self._unwritten = self._unwritten, set()
        await asyncio.sleep(self._delay_seconds)
        try:
            await self._write(aging & self._driven, on_lost)
            await self._release()
        except Unavailable:
            self._unwritten |= aging & self._driven
            self._has_work.set()
            raise

    async def _write(self, aged: set[UUID], on_lost: Callable[[UUID], None]) -> None:
        if not aged:
            return
        for run_id in aged - await self.acquire(aged):
            if run_id in self._driven:
                self._unwritten.add(run_id)
                on_lost(run_id)

    async def _release(self) -> None:
        async with self._statement_lock:
            over = self._to_release - self._driven
            if over:
                await self._sessions.run(RELEASE, {"epoch": self._epoch, "runs": list(over)})
                self._held -= over
                if again := over & self._driven:  # driven again since the statement was sent
                    self._unwritten |= again
                    self._has_work.set()
            self._to_release -= over
