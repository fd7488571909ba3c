"""The sealer: extend the Merkle tree over the log behind the appends, and sign its root.

One process seals at a time (`store/postgres/exclusive.py`); the others stand by. Tree and checkpoint are computed from
the log alone, so a sealer that dies loses nothing: the next one computes the same hashes.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import psycopg
import structlog
from psycopg import AsyncConnection

from store.errors import DatabaseAway, Unavailable
from store.log.appender import CheckConnection, accept_connection
from store.log.identity import LogIdentity
from store.log.raw_reads import read_sealed_range
from store.log.records import StoredEvent
from store.postgres.connections import OpenConnections, add_bounds
from store.postgres.exclusive import ExclusiveRole, Progress, RoleLost
from store.postgres.lock_status import name_session
from store.retrying import BackOff, Retrying
from store.seals.leaves import hash_event
from store.seals.merkle import compute_root
from store.seals.notes import Checkpoint, SignerKey, sign_note
from store.seals.seal_store import SealHead, extend_seals, read_edge, read_seal_head
from store.settings import STATEMENT_TIMEOUT_MS, SealSettings

LOCK: Final = 1936028012
"""The kind of the role "seals the log"; see `store/postgres/exclusive.py`."""

SESSION_LABEL: Final = "callsheet-sealer"


class SealGap(Exception):  # noqa: N818  # said to the operator; sealing waits until it is mended
    """The log lacks a position, so that what follows it cannot be sealed: `callsheet doctor` shows the gap."""


def format_origin(identity: LogIdentity) -> str:
    """Return the name of the tree: the log's id and the tag of its epoch, since a rewound log is another tree."""
    return f"callsheet/{identity.log_id}/{identity.tag}"


def find_valid_size(identity: LogIdentity, head: SealHead) -> int:
    """Return how many of the sealed leaves are still those of the log: fewer if an epoch has begun since."""
    if head.origin is None:
        return 0
    valid = identity.find_valid_position(head.origin.rpartition("/")[2], head.size)
    return min(head.size, identity.epoch.after if valid is None else valid)


class Sealer:
    """Seals the log of one database. `wait_past` waits until the log has a position after the given one."""

    def __init__(
        self,
        conninfo: str,
        identity: LogIdentity,
        signers: Sequence[SignerKey],
        wait_past: Callable[[int], Awaitable[None]],
        settings: SealSettings,
        *,
        check_connection: CheckConnection = accept_connection,
        statement_timeout_ms: int = STATEMENT_TIMEOUT_MS,
        connections: OpenConnections | None = None,
    ) -> None:
        """Create it; nothing is sealed until `run`. Its connection is added to `connections`, if given.

        `check_connection` raises LogRewound for a connection to an older log.
        """
        self._check_connection = check_connection
        self._conninfo = add_bounds(
            conninfo, statement_timeout_ms=statement_timeout_ms, application_name=name_session(SESSION_LABEL)
        )
        self._connections = connections
        self._identity = identity
        self._origin = format_origin(identity)
        self._signers = tuple(signers)
        self._wait_past = wait_past
        self._settings = settings
        self._role = ExclusiveRole(LOCK, "log")
        self._back_off = BackOff()
        self._logger = structlog.get_logger("store.sealer")
        self.size = 0
        self.fault: str | None = None

    async def run(self) -> None:
        """Seal until cancelled; retry with back-off."""
        retried = (psycopg.Error, DatabaseAway, Unavailable, RoleLost, SealGap)
        async for attempt in Retrying(*retried, back_off=self._back_off, on_failure=self._log_failure):
            with attempt:
                async with self._role.hold(
                    self._conninfo, self._stand_by, self._log_ended_sealer, self._connections
                ) as connection:
                    await self._serve(connection)

    async def _stand_by(self, connection: AsyncConnection[Any]) -> Progress:
        self.size = (await read_seal_head(connection)).size
        return Progress(self.size, self.size)  # whether a holder hangs is not judged: a standby seals no sooner

    def _log_failure(self, fault: Exception, failures: int) -> None:
        self.fault = str(fault).strip()
        if failures.bit_count() == 1:
            self._logger.warning("seals.interrupted", reason=self.fault, size=self.size, tries=failures)

    def _log_ended_sealer(self, session: str, position: int) -> None:
        self._logger.warning("seals.hung_sealer_ended", session=session, position=position)

    async def _serve(self, connection: AsyncConnection[Any]) -> None:
        await self._check_connection(connection)
        head = await read_seal_head(connection)
        size = find_valid_size(self._identity, head)
        if size < head.size:
            self._logger.warning("seals.realigned", size=size, before=head.size, origin=self._origin)
        tiles = await read_edge(connection, size)
        self.size = size
        while True:
            await self._wait_past(tiles.size)
            for event in await self._read(connection, tiles.size):
                tiles.append(hash_event(event))
            root = compute_root(tiles.size, tiles.read_node)
            note = sign_note(Checkpoint(origin=self._origin, size=tiles.size, root=root).format(), self._signers)
            if not await extend_seals(
                connection, head, origin=self._origin, size=tiles.size, note=note, changed=tiles.take_changed()
            ):
                raise RoleLost("another sealer has moved the head of the seals")
            head = SealHead(origin=self._origin, size=tiles.size, note=note, sealed_at=None)
            self.size, self.fault = tiles.size, None
            self._back_off.reset()

    async def _read(self, connection: AsyncConnection[Any], size: int) -> list[StoredEvent]:
        events = await read_sealed_range(connection, after=size, limit=self._settings.page_events)
        for position, event in enumerate(events, size + 1):
            if event.position != position:
                raise SealGap(f"the log lacks position {position}: nothing after it is sealed")
        return events
