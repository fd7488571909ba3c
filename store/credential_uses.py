"""Times of the last use of credentials: kept in memory, and written at intervals, so that no request waits for it."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from store.errors import Unavailable
from store.outage_log import OutageLog
from store.postgres.connections import Sessions

UNWRITTEN_MAX: Final = 10_000
"""Maximum number of unwritten uses in memory; further ones are not recorded."""

WRITE: Final = """
insert into credential_uses (credential_id, last_used_at)
select n.id, n.at from unnest(%b::uuid[], %b::timestamptz[]) as n (id, at) order by n.id
    on conflict (credential_id) do update
   set last_used_at = greatest(credential_uses.last_used_at, excluded.last_used_at)
"""
"""Record uses, in order of id, so that two processes do not deadlock."""

READ: Final = "select credential_id, last_used_at from credential_uses where credential_id = any (%b::uuid[])"
"""Read the last uses of some credentials."""


class CredentialUses:
    """The last use of each credential, as this process and others know it."""

    def __init__(self, sessions: Sessions, *, interval_seconds: float) -> None:
        """Create it; a use is written after `interval_seconds` at most."""
        self._sessions = sessions
        self._interval_seconds = interval_seconds
        self._unwritten: dict[UUID, datetime] = {}

    def record(self, credential_id: UUID, at: datetime) -> None:
        """Record a use in memory."""
        if credential_id in self._unwritten or len(self._unwritten) < UNWRITTEN_MAX:
            self._unwritten[credential_id] = at

    async def read(self, credential_ids: Sequence[UUID]) -> dict[UUID, datetime]:
        """Return the last use of each credential that was ever used. Raises Unavailable."""
        found: dict[UUID, datetime] = dict(await self._sessions.rows(READ, (list(credential_ids),)))
        return found | {key: self._unwritten[key] for key in credential_ids if key in self._unwritten}

    async def write(self) -> None:
        """Write the recorded uses; keep them in memory if that raises Unavailable."""
        written, self._unwritten = self._unwritten, {}
        if not written:
            return
        try:
            await self._sessions.run(WRITE, (list(written), list(written.values())))
        except Unavailable:
            self._unwritten = {**written, **self._unwritten}
            raise

    async def run(self) -> None:
        """Write uses at intervals until cancelled."""
        outages = OutageLog("store.credential_uses", lost="credential_uses.postponed", back="credential_uses.written")
        while True:
            await asyncio.sleep(self._interval_seconds)
            try:
                await self.write()
            except Unavailable as fault:
                outages.note_failure(str(fault))
            else:
                outages.note_success()
