"""The log: one ordered, append-only history of all facts; everything else can be rebuilt from it."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final
from uuid import UUID

from store.errors import OutcomeUnknown, Unavailable
from store.log.appender import Appender, OnBatch, OnCommit
from store.log.codec import OPAQUE
from store.log.decoding import STATE_FORMAT, decode_events, decode_readable_events
from store.log.durability import check_durability
from store.log.epochs import Connection, LogRewound, Mark, Witness, find_rewind, read_last_mark, read_state, reconcile
from store.log.gaps import list_gaps
from store.log.identity import LogIdentity
from store.log.queries import (
    FILTERED_RANGE,
    HEAD,
    NO_FILTER,
    RECORDED_AT,
    REMEMBER,
    REPEATED,
    STREAM,
    STREAM_TAILS,
    WHOLE_RANGE,
    LogFilter,
    range_parameters,
)
from store.log.records import Accepted, Append, CommandId, Page, Recorded, Repeated
from store.postgres.connections import Sessions, add_bounds
from store.postgres.migrations import check_schema
from store.postgres.monitor import DatabaseMonitor, MonitorBounds
from store.postgres.replication import confirm_replicated
from store.postgres.suitability import check_encoding
from store.settings import StoreSettings

STRETCH: Final = 10_000  # positions that one filtered read scans at most


class Log:
    """Append to the log and read it. `run` must be running, supervised, while the log is used."""

    def __init__(self, conninfo: str, settings: StoreSettings) -> None:
        """Create the log; `open_readers` connects it."""
        self._conninfo = add_bounds(
            conninfo, statement_timeout_ms=settings.statement_timeout_ms, application_name="callsheet-log"
        )
        self._identity: LogIdentity | None = None
        self._last: Recorded | None = None
        self._found: Mark | None = None
        self.missing_positions = 0
        """How many positions without a row the readers of this process have met."""
        self._answer_seconds = settings.append_answer_seconds
        self._on_commit: tuple[OnCommit, ...] = ()
        self.monitor = DatabaseMonitor(
            conninfo,
            MonitorBounds(probe_seconds=settings.probe_seconds, silent_seconds=settings.silent_seconds),
        )
        self._appender = Appender(
            self._conninfo,
            most_waiting=settings.append_queue_commands,
            most_events=settings.append_batch_events,
            most_bytes=settings.append_batch_bytes,
            answer_seconds=settings.append_answer_seconds,
            on_commit=self._notify_committed,
            monitor=self.monitor,
        )
        self._appender.check_connection = self.check_connection
        self.sessions = Sessions(
            self._conninfo,
            most=settings.readers,
            most_waiting=settings.readers_waiting,
            timeout_seconds=settings.read_timeout_seconds,
            check_readable=self.monitor.check_readable,
            connections=self.monitor.connections,
        )
        self.monitor.subscribe(on_lost=self.sessions.renew, on_back=self.sessions.renew)
        self.monitor.subscribe(on_lost=self._appender.abandon, on_back=self._appender.renew)

    @asynccontextmanager
    async def open_readers(self) -> AsyncGenerator[LogIdentity]:
        """Open the readers and check the database; yields the log's identity. Raises UnsafeDatabase, Unavailable."""
        async with self.sessions.open():
            async with self.sessions.connection() as connection:
                check_encoding(connection)
                await check_durability(connection)
                await check_schema(connection, ["store"])
                self._identity = (await read_state(connection)).identity
            yield self._identity

    @property
    def identity(self) -> LogIdentity:
        """Return the identity of the log as this process knows it. The log must be open."""
        if self._identity is None:
            raise RuntimeError("the log is not open")
        return self._identity

    async def reconcile(self, witnesses: Iterable[Witness], now_ms: int) -> LogIdentity:
        """Begin an epoch if a witness has a fact that the log lacks; return the identity after that.

        Call it before the log is used. Raises Unavailable.
        """
        async with self.sessions.connection() as connection:
            self._identity = await reconcile(connection, witnesses, now_ms)
            self._found = await read_last_mark(connection)
        return self._identity

    def remember(self, recorded: Recorded) -> None:
        """Record the last fact that was read or committed: a log that lacks it later was rewound."""
        if self._last is None or recorded.position > self._last.position:
            self._last = recorded

    def create_witness(self, origin: str) -> Witness | None:
        """Return the last fact that this process has read, committed, or found at its start; None in an empty log."""
        mark, last = self._found, self._last
        if last is not None:
            mark = Mark(
                position=last.position, stream_id=last.stream_id, version=last.version, recorded_at=last.recorded_at
            )
        if mark is None:
            return None
        identity = self.identity
        return Witness(log_id=identity.log_id, tag=identity.find_epoch(mark.position).tag, mark=mark, origin=origin)

    async def check_unchanged(self) -> None:
        """Check that the log has the last known fact, in the same epoch. Raises LogRewound, Unavailable."""
        async with self.sessions.connection() as connection:
            await self.check_connection(connection)

    async def check_connection(self, connection: Connection) -> None:
        """Check the log that a connection leads to: another server may have an older one. Raises LogRewound."""
        # Before the head is read: what is committed meanwhile must not look like a rewind.
        witness = self.create_witness("this process")
        state = await read_state(connection)
        if (state.identity.log_id, state.identity.tag) != (self.identity.log_id, self.identity.tag):
            raise LogRewound(f"the epoch {state.identity.tag} of the log began: {state.identity.epoch.reason}", witness)
        rewind = None if witness is None else await find_rewind(connection, state, witness)
        if rewind is not None:
            raise LogRewound(rewind.reason, witness)

    def tell(self, on_commit: OnCommit) -> None:
        """Register a callback for the facts that this process commits, in order of position."""
        self._on_commit = (*self._on_commit, on_commit)

    def _notify_committed(self, recorded: list[Recorded]) -> None:
        self.remember(recorded[-1])
        for callback in self._on_commit:
            callback(recorded)

    def measure(self, on_batch: OnBatch) -> None:
        """Register a callback for the size and duration of each append."""
        self._appender.on_batch = on_batch

    @property
    def waiting(self) -> int:
        """Return how many commands wait to be appended."""
        return self._appender.waiting

    @property
    def wake_others(self) -> bool:
        """Whether commits are announced to other processes (NOTIFY); a process alone saves the cost."""
        return self._appender.wake

    @wake_others.setter
    def wake_others(self, others: bool) -> None:
        self._appender.wake = others

    async def run(self) -> None:
        """Serve appends until cancelled."""
        await self._appender.run()

    def check_ready(self) -> None:
        """Raise Unavailable, with the reason, unless the log can be read and takes appends."""
        self._appender.check_ready()

    async def wait_until_connected(self) -> None:
        """Wait until the appender is connected and accepts commands; `run` must be running."""
        await self._appender.wait_until_connected()

    async def append(self, append: Append) -> Accepted | Repeated:
        """Commit one command's facts durably, or return the outcome of an earlier command with the same id.

        Raises Conflict; QueueFull or Unavailable (nothing took effect); OutcomeUnknown; FactTooLarge, UnstorableText.
        """
        accepted = await self._appender.append(append)
        if accepted is not None:
            return accepted
        repeated = await self.find_repeated(append.command_id.key) if append.command_id is not None else None
        if repeated is None:
            message = (
                "the command id was a duplicate, but its record expired before it could be read; repeat the command"
            )
            raise OutcomeUnknown(message)
        return repeated

    async def find_repeated(self, command_key: bytes) -> Repeated | None:
        """Return the outcome of a command with this id, if it was accepted within the retention.

        Raises OutcomeUnknown while it may be missing on a synchronous standby; Unavailable.
        """
        row = await self.sessions.one(REPEATED, (command_key,))
        if row is None:
            return None
        await self.confirm_replicated()
        request_hash, stream_id, version, position, at = row
        return Repeated(
            request_hash=request_hash, stream_id=stream_id, version=version, position=position, recorded_at=at
        )

    async def remember_command(
        self, command_id: CommandId, stream_id: UUID, *, version: int, position: int
    ) -> Repeated | None:
        """Record that a command left a stream as it was, durably; return the outcome of an earlier one if there is.

        Raises OutcomeUnknown, Unavailable.
        """
        parameters = (command_id.key, command_id.request_hash, stream_id, version, position)
        row = await self.sessions.one(REMEMBER, parameters)
        if row is not None and row[0]:
            return None
        return await self.find_repeated(command_id.key)

    async def confirm_replicated(self) -> None:
        """Wait until a synchronous standby has all that can be read now. Raises OutcomeUnknown, Unavailable."""
        await confirm_replicated(self.sessions, self._answer_seconds)

    async def head(self) -> tuple[int, UUID]:
        """Return the last position (0 for an empty log) and the log's id. Raises Unavailable."""
        row = await self.sessions.one(HEAD, None)
        if row is None:
            message = "the log has no head row"
            raise Unavailable(message)
        return row[0], row[1]

    async def find_position(self, at: datetime) -> int:
        """Return the last position recorded at or before a time, 0 if none was. Raises Unavailable.

        It bisects: times grow with positions, as long as the clock of the database is not set back.
        """
        first, last = 0, (await self.head())[0]
        while first < last:
            middle = (first + last + 1) // 2
            row = await self.sessions.one(RECORDED_AT, (middle,))
            if row is None or row[0] <= at:
                first = middle
            else:
                last = middle - 1
        return first

    async def read_next(self, *, after: int, limit: int) -> Page:
        """Read up to `limit` events after a position in one statement. Raises Unavailable.

        Positions become visible in order and without gaps, so reading the head first is not necessary. Records of
        outside libraries are omitted: a page may have no facts although its `through` has advanced.
        """
        rows = await self.sessions.rows(WHOLE_RANGE, {"after": after, "through": after + limit})
        events = decode_events([row for row in rows if row[STATE_FORMAT] != OPAQUE])
        gaps = list_gaps([row[0] for row in rows], after) if rows and rows[-1][0] != after + len(rows) else ()
        return Page(events=tuple(events), through=rows[-1][0] if rows else after, gaps=gaps)

    async def read_stream(
        self, stream_id: UUID, *, after: int = 0, past: int = 0, limit: int = 10_000
    ) -> list[Recorded]:
        """Read the facts of a stream after a version and past a position of the log, oldest first.

        Raises Unavailable, UnreadableEvent.
        """
        parameters = {"stream": stream_id, "after": after, "past": past, "limit": limit}
        return decode_readable_events(await self.sessions.rows(STREAM, parameters))

    async def read_stream_tails(self, past: Mapping[UUID, int], topics: Sequence[str]) -> list[Recorded]:
        """Read the facts of some topics that streams have past a position each, at most 1,000 of a stream.

        Raises Unavailable, UnreadableEvent.
        """
        if not past:
            return []
        parameters = {"streams": [*past.keys()], "positions": [*past.values()], "topics": [*topics]}
        return decode_readable_events(await self.sessions.rows(STREAM_TAILS, parameters))

    async def read_log(self, *, after: int, limit: int, only: LogFilter = NO_FILTER) -> Page:
        """Read matching facts after a position, oldest first; `through` is the last position searched.

        One read scans at most 10,000 positions, so that a rare filter cannot occupy a connection: a page without facts
        and with `through` below the head means "continue from there". An event that this version cannot decode is
        returned as `Unreadable`. Raises Unavailable.
        """
        if limit < 1:
            raise ValueError("a page holds at least one event")
        head, _ = await self.head()
        through = min(head, after + STRETCH)
        if through <= after:
            return Page(events=(), through=after)
        events = decode_events(await self.sessions.rows(FILTERED_RANGE, range_parameters(after, through, limit, only)))
        return Page(events=tuple(events), through=events[-1].position if len(events) == limit else through)
