"""Synchronous recorders of the `eventsourcing` library over the same log, so that its tools can open it.

What the library writes is opaque to Callsheet (state format 0, a reserved workspace). What it reads is the whole log:
Callsheet's own facts appear with their tag as the topic and their JSON as the state.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from threading import Thread
from typing import Any, Final, LiteralString
from uuid import UUID

import psycopg
from eventsourcing import persistence
from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    ListenNotifySubscription,
    Notification,
    StoredEvent,
)
from psycopg import Connection
from psycopg_pool import ConnectionPool

from store.postgres.connections import add_bounds
from store.postgres.replication import ReplicationNotices

RESERVED_WORKSPACE: Final = UUID("00000000-0000-7000-8000-6576656e7473")
"""The workspace of all records of the library; no token can name it."""
LARGEST: Final = 2**63 - 1
LISTEN_SECONDS: Final = 0.2
"""Interval at which a subscription polls: a Callsheet process that is alone sends no notifications."""

RECORD: Final = "select head_before from record_events(%b::uuid[], %b::bigint[], %b::text[], %b::bytea[], %b)"
"""Append opaque events under the head lock, all or none (see 0003_record.sql)."""

FORWARDS: Final = """
select originator_id, originator_version, topic, state from events
 where originator_id = %b and originator_version > %b and originator_version <= %b
 order by originator_version limit %b
"""
"""Read one stream, oldest first."""

BACKWARDS: Final = """
select originator_id, originator_version, topic, state from events
 where originator_id = %b and originator_version > %b and originator_version <= %b
 order by originator_version desc limit %b
"""
"""Read one stream, newest first."""

NOTIFICATIONS: Final = """
select originator_id, originator_version, topic, state, notification_id from events
 where notification_id >= %b and notification_id <= %b and (%b::text[] = '{}' or topic = any (%b::text[]))
 order by notification_id limit %b
"""
"""Read the log by position; positions are gapless, so no event can appear before one that was read."""

HEAD: Final = "select nullif(position, 0) from log_head"
"""Read the last position of the log."""

TRANSLATED: Final = (
    (psycopg.InterfaceError, persistence.InterfaceError),
    (psycopg.OperationalError, persistence.OperationalError),
    (psycopg.IntegrityError, persistence.IntegrityError),
    (psycopg.DataError, persistence.DataError),
    (psycopg.InternalError, persistence.InternalError),
    (psycopg.ProgrammingError, persistence.ProgrammingError),
    (psycopg.NotSupportedError, persistence.NotSupportedError),
)
"""The library's exception for each of psycopg's errors, the first that matches; else PersistenceError."""


class Datastore:
    """A bounded pool of connections in autocommit mode."""

    def __init__(self, conninfo: str, *, connections: int = 10, statement_timeout_ms: int = 10_000) -> None:
        """Create the pool; it opens on first use."""
        self._pool = ConnectionPool(
            add_bounds(conninfo, statement_timeout_ms=statement_timeout_ms, application_name="callsheet-recorder"),
            min_size=1,
            max_size=connections,
            open=False,
            kwargs={"autocommit": True},
        )

    @contextmanager
    def connection(self) -> Generator[Connection[tuple[Any, ...]]]:
        """Yield a connection; errors inside the block become the library's own."""
        try:
            self._pool.open()
            with self._pool.connection() as connection:
                yield connection
        except psycopg.Error as fault:
            fits = (theirs for ours, theirs in TRANSLATED if isinstance(fault, ours))
            kind = next(fits, persistence.PersistenceError)
            raise kind(str(fault)) from fault

    def rows(self, query: LiteralString, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of one statement."""
        with self.connection() as connection:
            return connection.cursor(binary=True).execute(query, parameters).fetchall()

    def record(self, parameters: Sequence[Any]) -> int:
        """Append events and return the head before them.

        Raises persistence.OperationalError when the commit may be missing on the synchronous standby.
        """
        with self.connection() as connection:
            notices = ReplicationNotices(connection)
            try:
                ((head,),) = connection.cursor(binary=True).execute(RECORD, parameters).fetchall()
            finally:
                notices.close()
            if (reason := notices.take_cancelled()) is not None:
                raise psycopg.OperationalError(f"outcome unknown: {reason}")
            return head

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()


class CallsheetAggregateRecorder(AggregateRecorder):
    """Records and reads the events of aggregates; versions begin at 0 or 1."""

    def __init__(self, datastore: Datastore) -> None:
        """Create the recorder over a migrated database."""
        self._datastore = datastore

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: object) -> Sequence[int] | None:
        """Append events of any number of aggregates, all or none. Raises IntegrityError on a version that exists."""
        self._insert(stored_events, kwargs)
        return None

    def _insert(self, stored_events: Sequence[StoredEvent], kwargs: dict[str, object]) -> Sequence[int]:
        if unknown := sorted(name for name, value in kwargs.items() if value is not None):
            raise persistence.NotSupportedError(f"unknown arguments: {', '.join(unknown)}")
        columns = (
            [event.originator_id for event in stored_events],
            [event.originator_version for event in stored_events],
            [event.topic for event in stored_events],
            [event.state for event in stored_events],
        )
        head = self._datastore.record((*columns, RESERVED_WORKSPACE))
        return range(head + 1, head + 1 + len(stored_events))

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """Read a stream between two versions."""
        bounds = (-1 if gt is None else gt, LARGEST if lte is None else lte, LARGEST if limit is None else limit)
        rows = self._datastore.rows(BACKWARDS if desc else FORWARDS, (originator_id, *bounds))
        return [_event(row) for row in rows]


class CallsheetApplicationRecorder(CallsheetAggregateRecorder, ApplicationRecorder):
    """Records events and reads the whole log by position."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: object) -> Sequence[int] | None:
        """Append events, all or none, and return their positions. Raises IntegrityError on a version that exists."""
        return list(self._insert(stored_events, kwargs))

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """Read the log from one position to another, both inclusive unless requested otherwise."""
        first = 0 if start is None else start + (not inclusive_of_start)
        wanted = list(topics)
        rows = self._datastore.rows(NOTIFICATIONS, (first, LARGEST if stop is None else stop, wanted, wanted, limit))
        return [_notification(row) for row in rows]

    def max_notification_id(self) -> int | None:
        """Return the last position, None for an empty log."""
        ((position,),) = self._datastore.rows(HEAD)
        return position

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> "CallsheetSubscription":
        """Follow the log from after a position."""
        return CallsheetSubscription(self, self._datastore, gt, topics)


class CallsheetSubscription(ListenNotifySubscription[CallsheetApplicationRecorder]):
    """Follows the log; woken by NOTIFY, and by a poll several times a second."""

    def __init__(
        self, recorder: CallsheetApplicationRecorder, datastore: Datastore, gt: int | None, topics: Sequence[str]
    ) -> None:
        """Create the subscription."""
        super().__init__(recorder=recorder, gt=gt, topics=topics)
        self._datastore = datastore
        self._listening = Thread(target=self._listen, daemon=True)
        self._listening.start()

    def __exit__(self, *args: object, **kwargs: object) -> None:
        try:
            super().__exit__(*args, **kwargs)
        finally:
            self._listening.join()

    def _listen(self) -> None:
        try:
            with self._datastore.connection() as connection:
                connection.execute("listen callsheet_log")
                while not self._has_been_stopped:
                    for _ in connection.notifies(timeout=LISTEN_SECONDS, stop_after=1):
                        pass
                    self._has_been_notified.set()
        except persistence.PersistenceError as fault:
            self._thread_error = self._thread_error or fault
            self.stop()


def _event(row: tuple[Any, ...]) -> StoredEvent:
    stream, version, topic, state = row
    return StoredEvent(originator_id=stream, originator_version=version, topic=topic, state=state)


def _notification(row: tuple[Any, ...]) -> Notification:
    stream, version, topic, state, position = row
    return Notification(originator_id=stream, originator_version=version, topic=topic, state=state, id=position)
