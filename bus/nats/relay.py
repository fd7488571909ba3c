"""The relay: publish committed facts in order of position; its cursor is a row in PostgreSQL.

One process relays at a time (`store/postgres/exclusive.py`); the others stand by. Facts that were published before
the cursor moved are published again after a crash: JetStream deduplicates ids for two minutes, and subscribers know
events by their id.
"""

import time
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final

import structlog
from nats.aio.client import Client
from psycopg import AsyncConnection

from bus.cloudevents import MEDIA_TYPE, encode_envelope
from bus.feed import Feed
from bus.nats.jetstream import StreamUnusable, ensure_stream
from bus.nats.publisher import CONTENT_TYPE, MESSAGE_ID, POSITION, Message, NotPublished, Publisher, publishing
from bus.nats.relay_status import LOCK, SESSION_LABEL
from bus.nats.stream_witness import WitnessUnreadable, announce_epochs, read_last_witness, read_witness
from bus.nats.subjects import format_subject
from bus.settings import NatsSettings
from store.errors import Unavailable
from store.failpoint import FailPointHook, noop
from store.log.epochs import (
    LogRewound,
    LogState,
    Mark,
    Rewind,
    Witness,
    begin_epoch,
    create_tag,
    find_rewind,
    read_state,
)
from store.log.identity import LogIdentity
from store.log.raw_reads import read_raw_range
from store.log.records import StoredEvent
from store.outage_log import OutageLog
from store.postgres.connections import ASYNC_COMMIT, OpenConnections, add_bounds, cancellable
from store.postgres.exclusive import ExclusiveRole, Progress, RoleBounds, RoleLost
from store.postgres.lock_status import name_session
from store.retrying import BackOff, Retrying
from store.settings import STATEMENT_TIMEOUT_MS

CARRIER: Final = "nats"

BEGIN: Final = "insert into relay_cursors (carrier) values (%b) on conflict do nothing"
"""Create the cursor of a carrier without one: then the whole log is published."""

CURSOR: Final = "select position, log_tag from relay_cursors where carrier = %b"
"""Read the cursor of a carrier: its position and its epoch of the log."""

REALIGN: Final = """
update relay_cursors set position = %(position)b::bigint, log_tag = %(tag)b, moved_at = now()
 where carrier = %(carrier)b and position = %(expected)b::bigint and log_tag is not distinct from %(expected_tag)b
returning position
"""
"""Move the cursor back to where the facts that it has published are still in the log."""

MOVE: Final = """
update relay_cursors set position = %(position)b::bigint, moved_at = now()
 where carrier = %(carrier)b and position = %(expected)b::bigint and log_tag = %(tag)b
   and log_tag = (select tag from log_epochs order by number desc limit 1)
returning position
"""
"""Move the cursor from where this relay left it.

It matches no row when another relay has moved it, or when a new epoch of the log has begun.
"""

LOST: Final = (Unavailable, RoleLost)
"""Exceptions that a new connection may resolve."""

RETRIED: Final = (*LOST, NotPublished, StreamUnusable, WitnessUnreadable)


class Relaying(StrEnum):
    """State of a relay."""

    AWAY = "away"
    """This process has no connection to NATS or to PostgreSQL."""
    STANDING_BY = "standing_by"
    """Another process relays."""
    RELAYING = "relaying"
    REFUSED = "refused"
    """NATS refuses what is published; an operator has to act."""


class Relay:
    """Relay whenever no other process does. A process creates one, and runs it on every connection to NATS."""

    def __init__(
        self,
        conninfo: str,
        identity: LogIdentity,
        feed: Feed,
        settings: NatsSettings,
        *,
        statement_timeout_ms: int = STATEMENT_TIMEOUT_MS,
        connections: OpenConnections | None = None,
        failpoint: FailPointHook = noop,
    ) -> None:
        """Create the relay; it does nothing until `run`. Its connection is added to `connections`, if given."""
        self._connections = connections
        self._conninfo = add_bounds(
            conninfo, statement_timeout_ms=statement_timeout_ms, application_name=name_session(SESSION_LABEL)
        )
        self._identity = identity
        self._feed = feed
        self._settings = settings
        self._failpoint = failpoint
        self._role = ExclusiveRole(
            LOCK,
            CARRIER,
            RoleBounds(standby_seconds=settings.relay_standby_seconds, hung_seconds=settings.relay_hung_seconds),
        )
        self._back_off = BackOff()
        self._logger = structlog.get_logger("bus.relay")
        self._outages = OutageLog("bus.relay", lost="relay.interrupted", back="relay.back")
        self.doing = Relaying.AWAY
        self.fault: str | None = None
        self.position = 0
        self.foreign_duplicates = 0

    async def run(self, client: Client) -> None:
        """Relay over a connection to NATS until cancelled; retry with back-off.

        Raises LogRewound when the stream has facts that the log has not, or when a new epoch of the log has begun.
        """
        try:
            async for attempt in Retrying(*RETRIED, back_off=self._back_off, on_failure=self._handle_failure):
                with attempt:
                    async with self._role.hold(
                        self._conninfo, self._stand_by, self._log_ended_relay, self._connections
                    ) as connection:
                        await self._serve(connection, client)
        finally:
            self.doing = Relaying.AWAY

    def _handle_failure(self, fault: Exception, failures: int) -> None:
        if isinstance(fault, LOST):
            self.doing = Relaying.AWAY
            self._outages.note_failure(str(fault).strip())
            return
        self.doing, self.fault = Relaying.REFUSED, str(fault)
        if failures.bit_count() == 1:  # after 1, 2, 4, 8 … failures: a refusal may last until an operator acts
            self._logger.warning("relay.refused", reason=self.fault, position=self.position, tries=failures)
        self._outages.note_failure(self.fault, is_logged=True)

    async def _stand_by(self, connection: AsyncConnection[Any]) -> Progress:
        self.doing, self.fault = Relaying.STANDING_BY, None
        row = await (await connection.execute(CURSOR, [CARRIER])).fetchone()
        self._outages.note_success(standing_by=True)
        return Progress(0 if row is None else row[0], self._feed.through)

    def _log_ended_relay(self, session: str, position: int) -> None:
        self._logger.warning("relay.hung_relay_ended", session=session, position=position)

    async def _serve(self, connection: AsyncConnection[Any], client: Client) -> None:
        with cancellable():
            await ensure_stream(client, self._settings)
        # A cursor that is lost in a crash costs some messages published twice.
        await connection.execute(ASYNC_COMMIT)
        await connection.execute(BEGIN, [CARRIER])
        state = await self._compare(connection, client)
        self.position = await self._realign(connection, state)
        await announce_epochs(client, self._settings.stream, state.identity)
        if self.doing is not Relaying.REFUSED:
            self._logger.info("relay.relaying", position=self.position)
        self._outages.note_success(position=self.position)
        self.doing, self.fault = Relaying.RELAYING, None
        async with publishing(client, self._settings.relay_ack_seconds) as publisher:
            while True:
                await self._feed.wait_past(self.position)
                await self._step(connection, client, publisher)

    async def _compare(self, connection: AsyncConnection[Any], client: Client) -> LogState:
        """Compare the log with the stream. Raises LogRewound."""
        state = await read_state(connection)
        witness = await read_last_witness(client, self._settings.stream)
        if witness is not None and (rewind := await find_rewind(connection, state, witness)) is not None:
            tag = create_tag(state.identity, int(time.time() * 1_000), [witness.tag])
            await begin_epoch(connection, state, rewind, tag)
            raise LogRewound(rewind.reason)
        if state.identity.tag != self._identity.tag:
            raise LogRewound(f"the epoch {state.identity.tag} of the log began: {state.identity.epoch.reason}")
        return state

    async def _realign(self, connection: AsyncConnection[Any], state: LogState) -> int:
        """Return the cursor, moved back to the start of an epoch that began since it was moved, and to the head."""
        row = await (await connection.execute(CURSOR, [CARRIER])).fetchone()
        if row is None:
            raise RoleLost("the row of the relay's cursor is missing")
        position, tag = row
        identity = state.identity
        valid = identity.find_valid_position(tag or identity.epochs[0].tag, position)
        aligned = min(state.head, identity.epoch.after if valid is None else valid)
        if aligned != position:
            self._logger.warning("relay.realigned", position=aligned, before=position, tag=identity.tag)
        move = {"carrier": CARRIER, "position": aligned, "tag": identity.tag, "expected": position, "expected_tag": tag}
        if await (await connection.execute(REALIGN, move)).fetchone() is None:
            raise RoleLost("another relay has moved the cursor")
        return aligned

    async def _step(self, connection: AsyncConnection[Any], client: Client, publisher: Publisher) -> None:
        """Publish one page of committed facts, and move the cursor once all of them are acknowledged."""
        through, limit = self._feed.through, self._settings.relay_page_events
        cursor = connection.cursor(binary=True)
        events = await read_raw_range(cursor, after=self.position, through=through, limit=limit)
        if len(events) == limit:
            through = events[-1].position
        if events:
            duplicates = await publisher.publish(self._messages(events))
            await self._check_duplicates(connection, client, events, duplicates)
        self._failpoint("relay.published")
        await self._move(connection, through)
        self._failpoint("relay.saved")

    async def _check_duplicates(
        self, connection: AsyncConnection[Any], client: Client, events: Sequence[StoredEvent], sequences: Sequence[int]
    ) -> None:
        """Check that what the stream had already are these facts, published before a crash. Raises LogRewound.

        Otherwise the ids of other facts are used again: these facts were not stored, so no subscriber would get them.
        """
        by_position = {event.position: event for event in events}
        for sequence in sequences:
            witness = await read_witness(client, self._settings.stream, sequence)
            if witness is not None and _is_of_fact(witness, by_position.get(witness.mark.position)):
                continue
            reason = f"a duplicate acknowledgement for a new fact after position {self.position}: sequence {sequence}"
            self.foreign_duplicates += 1
            self._logger.error("relay.foreign_duplicate", position=self.position, sequence=sequence)
            state = await read_state(connection)
            tags = [] if witness is None else [witness.tag]
            tag = create_tag(state.identity, int(time.time() * 1_000), tags)
            await begin_epoch(connection, state, Rewind(after=self.position, reason=reason), tag)
            raise LogRewound(reason)

    def _messages(self, events: Sequence[StoredEvent]) -> list[Message]:
        return [
            Message(
                format_subject(event.workspace_id, event.project_id, event.topic),
                encode_envelope(self._identity, event),
                {
                    MESSAGE_ID: self._identity.format_event_id(event.position),
                    POSITION: str(event.position),
                    CONTENT_TYPE: MEDIA_TYPE,
                },
            )
            for event in events
        ]

    async def _move(self, connection: AsyncConnection[Any], position: int) -> None:
        move = {"carrier": CARRIER, "position": position, "expected": self.position, "tag": self._identity.tag}
        if await (await connection.execute(MOVE, move)).fetchone() is None:
            raise RoleLost("another relay has moved the cursor, or an epoch of the log began")
        self.position = position
        self._back_off.reset()


def _is_of_fact(witness: Witness, event: StoredEvent | None) -> bool:
    """Return whether a message of the stream is about a stored fact."""
    return event is not None and witness.mark == Mark(
        position=event.position, stream_id=event.stream_id, version=event.version, recorded_at=event.recorded_at
    )
