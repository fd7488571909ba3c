"""The relay: publishes what has been committed, in order of position, and remembers how far it came in PostgreSQL.

One process relays at a time, by a session lock; the others stand by. What was published and not remembered is
published again: JetStream knows the ids of its last two minutes, and subscribers know events by their id.
"""

import asyncio
import random
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import psycopg
import structlog
from msgspec import Struct
from nats.aio.client import Client
from psycopg import AsyncConnection

from bus.feed import Feed
from bus.nats.cloudevents import MEDIA_TYPE, Stored, write
from bus.nats.jetstream import StreamBounds, StreamUnusable, ensure_stream
from bus.nats.publisher import CONTENT_TYPE, MESSAGE_ID, POSITION, Message, NotPublished, Publisher, publishing
from bus.nats.relay_status import relay_name
from bus.nats.subjects import subject_of
from store.errors import Unavailable
from store.failpoint import FailPointHook, noop
from store.log.appender import back_off_seconds
from store.log.event_id import mark_of, marked
from store.postgres.connections import bounded, cancellable, connected
from store.postgres.lock_holder import Standby

CARRIER: Final = "nats"

LOCK: Final = 1919251553

OWN: Final = "select pg_try_advisory_lock(1919251553, hashtext(%b::text))"
"""Become the one relay of a carrier, for as long as the connection lives."""

BEGIN: Final = "insert into relay_cursors (carrier) values (%b) on conflict do nothing"
"""Make the cursor of a carrier that has none: then the whole log is published."""

CURSOR: Final = "select position from relay_cursors where carrier = %b"
"""Read how far a carrier has come."""

MOVE: Final = """
update relay_cursors set position = %(position)b::bigint, moved_at = now()
 where carrier = %(carrier)b and position = %(expected)b::bigint
returning position
"""
"""Move the cursor from where this relay left it; it moves nothing where another relay has been."""

STRETCH: Final = """
select notification_id, originator_id, originator_version, workspace_id, project_id, recorded_at, topic,
       state_format, key_id, state, metadata::text
  from events
 where notification_id > %(after)b::bigint and notification_id <= %(through)b::bigint and state_format <> 0
 order by notification_id
 limit %(limit)b::int
"""
"""Read a stretch of the log as it stands there, in order of position, without the records of outside libraries."""

# A cursor that PostgreSQL loses in a crash costs some messages published twice; so moving it waits for no disk.
RELAXED: Final = "set synchronous_commit = off"


class RelayBounds(Struct, frozen=True, kw_only=True):
    """The bounds of the relay; `callsheet.settings.load` names and documents each."""

    page_events: int = 1_000
    ack_seconds: float = 10.0
    standby_seconds: float = 1.0
    hung_seconds: float = 15.0
    statement_timeout_ms: int = 10_000
    stream: StreamBounds = StreamBounds()


class Relaying(StrEnum):
    """What a relay is doing."""

    AWAY = "away"
    """It has no connection to NATS or to PostgreSQL."""
    STANDING_BY = "standing_by"
    """Another process relays."""
    RELAYING = "relaying"
    REFUSED = "refused"
    """NATS does not take what is published; a person has to look."""


class CursorTaken(Exception):  # noqa: N818  # tells the relay to stand by
    """The cursor is not where this relay left it: another one relays."""


class Relay:
    """Relays for this process whenever no other one does. One is made for the process, and run on every connection."""

    def __init__(
        self,
        conninfo: str,
        log_id: UUID,
        feed: Feed,
        bounds: RelayBounds,
        *,
        failpoint: FailPointHook = noop,
    ) -> None:
        """Make the relay; it does nothing until `run`."""
        self._conninfo = bounded(
            conninfo, statement_timeout_ms=bounds.statement_timeout_ms, application_name=relay_name()
        )
        self._log_id = log_id
        self._mark = mark_of(log_id)
        self._feed = feed
        self._bounds = bounds
        self._failpoint = failpoint
        self._logger = structlog.get_logger("bus.relay")
        self.doing = Relaying.AWAY
        self.fault: str | None = None
        self.position = 0

    async def run(self, client: Client) -> None:
        """Relay over a connection until cancelled; what goes wrong is tried again, with jittered back-off."""
        failures = 0
        try:
            while True:
                begun_at = self.position
                try:
                    async with connected(self._conninfo) as connection:
                        await self._serve(connection, client)
                except (psycopg.OperationalError, psycopg.InterfaceError, Unavailable, CursorTaken) as lost:
                    self.doing = Relaying.AWAY
                    self._logger.warning("relay.interrupted", reason=str(lost).strip())
                except (NotPublished, StreamUnusable) as refused:
                    self.doing, self.fault = Relaying.REFUSED, str(refused)
                    if failures.bit_count() <= 1:  # ever more seldom: a refusal may last until a person has seen to it
                        self._logger.warning("relay.refused", reason=self.fault, position=self.position, tries=failures)
                failures = 1 if self.position > begun_at else failures + 1
                await asyncio.sleep(back_off_seconds(failures))
        finally:
            self.doing = Relaying.AWAY

    async def _serve(self, connection: AsyncConnection[Any], client: Client) -> None:
        await self._own(connection)
        with cancellable():
            await ensure_stream(client, self._bounds.stream)
        await connection.execute(RELAXED)
        await connection.execute(BEGIN, [CARRIER])
        row = await (await connection.execute(CURSOR, [CARRIER])).fetchone()
        if row is None:
            raise CursorTaken("the cursor is gone")
        self.position = row[0]
        if self.doing is not Relaying.REFUSED:
            self._logger.info("relay.relaying", position=self.position)
        self.doing, self.fault = Relaying.RELAYING, None
        async with publishing(client, self._bounds.ack_seconds) as publisher:
            while True:
                await self._feed.moved(self.position)
                await self._step(connection, publisher)

    async def _own(self, connection: AsyncConnection[Any]) -> None:
        standby = Standby(LOCK, CARRIER, self._bounds.hung_seconds)
        while True:
            row = await (await connection.execute(OWN, [CARRIER])).fetchone()
            if row is not None and row[0]:
                return
            self.doing, self.fault = Relaying.STANDING_BY, None
            row = await (await connection.execute(CURSOR, [CARRIER])).fetchone()
            position = 0 if row is None else row[0]
            if (ended := await standby.look(connection, position, self._feed.through)) is not None:
                self._logger.warning("relay.hung_relay_ended", session=ended, position=position)
            await asyncio.sleep(self._bounds.standby_seconds * random.uniform(0.5, 1.0))  # noqa: S311  # jitter, nothing secret

    async def _step(self, connection: AsyncConnection[Any], publisher: Publisher) -> None:
        """Publish one page of what is committed, and move the cursor once all of it is acknowledged."""
        through, limit = self._feed.through, self._bounds.page_events
        stretch = {"after": self.position, "through": through, "limit": limit}
        cursor = connection.cursor(binary=True)
        await cursor.execute(STRETCH, stretch, prepare=True)
        rows = [Stored(*row) for row in await cursor.fetchall()]
        if len(rows) == limit:
            through = rows[-1].position
        if rows:
            await publisher.publish(self._messages(rows))
        self._failpoint("relay.published")
        await self._move(connection, through)
        self._failpoint("relay.saved")

    def _messages(self, rows: Sequence[Stored]) -> list[Message]:
        return [
            Message(
                subject_of(one.workspace_id, one.project_id, one.topic),
                write(self._log_id, one),
                {
                    MESSAGE_ID: marked(self._mark, one.position),
                    POSITION: str(one.position),
                    CONTENT_TYPE: MEDIA_TYPE,
                },
            )
            for one in rows
        ]

    async def _move(self, connection: AsyncConnection[Any], position: int) -> None:
        move = {"carrier": CARRIER, "position": position, "expected": self.position}
        if await (await connection.execute(MOVE, move)).fetchone() is None:
            raise CursorTaken("another relay has moved the cursor")
        self.position = position
