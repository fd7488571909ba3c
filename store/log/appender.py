"""The appender: one task a process that gathers every waiting command and commits them together."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from time import monotonic, perf_counter
from typing import Any, Final

import psycopg
import structlog
from opentelemetry import trace
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus

from store.errors import DatabaseAway, OutcomeUnknown, QueueFull, describe_outage, is_database_away
from store.log.batch import APPEND, Waiting, parameters, refuse, settle, take_batch, waiting
from store.log.durability import check_can_write, check_durability
from store.log.prepared_statement import PreparedStatement, list_oids
from store.log.records import Accepted, Append, Recorded
from store.postgres.connections import Connection, open_connection
from store.postgres.monitor import DatabaseMonitor
from store.postgres.replication import ReplicationNotices
from store.retrying import BackOff, BackOffBounds, Retrying

BACK_OFF: Final = BackOffBounds(first_seconds=0.05)

EARLIEST_COMMANDS: Final = 64
"""Fewer waiting commands are not sent early: a commit of their own would cost more than it gains."""

UNTIL_SOMEBODY_ACTS: Final = ("25006", "53", "58")
"""SQLSTATEs, or their classes, that befall every batch: a read-only server, a full disk or memory, failing I/O."""

# As in `commands.handler`: a span that is not the current one costs 1 µs a batch instead of 5.
tracer: Final = trace.get_tracer("callsheet")

OnCommit = Callable[[list[Recorded]], None]
OnBatch = Callable[[int, int, float], None]
"""Called for each answered batch: the number of commands, of facts committed, and the seconds from send to answer."""


CheckConnection = Callable[[AsyncConnection[Any]], Awaitable[None]]
"""Is called with each new connection before it appends; what it raises ends `run`."""


async def accept_connection(_connection: AsyncConnection[Any]) -> None:
    """Accept every connection."""


def ignore_batch(_commands: int, _facts: int, _seconds: float) -> None:
    """Ignore the batch: no callback is registered."""


class Appender:
    """Group commit over one connection; `run` must be running, supervised, for `append` to be answered."""

    _lost_at: float | None = None

    def __init__(
        self,
        conninfo: str,
        *,
        most_waiting: int,
        most_events: int,
        most_bytes: int,
        answer_seconds: float,
        on_commit: OnCommit,
        wake: bool = True,
        monitor: DatabaseMonitor | None = None,
    ) -> None:
        """Create the appender: at most `most_waiting` commands wait; so many events or bytes close one batch.

        After `answer_seconds` without an answer the connection is given up, and the outcome is unknown.
        While `monitor` knows that the database takes no commands, they are refused at once.
        """
        self._conninfo = conninfo
        self._most_waiting = most_waiting
        self._most_events = most_events
        self._most_bytes = most_bytes
        self._answer_seconds = answer_seconds
        self._on_commit = on_commit
        self.wake, self._monitor = wake, monitor
        self._is_doubtful = False  # the last batch was refused as every batch would have been
        self._connection: Connection | None = None
        self.check_connection: CheckConnection = accept_connection
        self.on_batch: OnBatch = ignore_batch
        self._queue: deque[Waiting] = deque()
        self._sent: list[Waiting] = []
        self._work = asyncio.Event()
        self._up = asyncio.Event()
        self._statement: PreparedStatement | None = None
        self._notices: ReplicationNotices | None = None
        self._unsendable: Exception | None = None
        self._sent_at = self._connected_at = 0.0
        self._early = EARLIEST_COMMANDS
        self._limit = most_events  # lower for some batches after one that the database refused
        self._down: str | None = "the log has not connected yet"
        self._log = structlog.get_logger("store.appender")

    @property
    def waiting(self) -> int:
        """Return how many commands wait to be sent."""
        return len(self._queue)

    def append(self, append: Append) -> asyncio.Future[Accepted | None]:
        """Queue one command; its future resolves after the commit, to None if the command id was accepted before.

        Raises at once QueueFull or Unavailable (nothing took effect), FactTooLarge, UnstorableText; through the future
        Conflict, Unavailable, OutcomeUnknown.
        """
        self.check_ready()
        if len(self._queue) >= self._most_waiting:
            message = f"the queue of the log is full ({self._most_waiting} commands); retry later"
            raise QueueFull(message)
        command = waiting(append, asyncio.get_running_loop().create_future())
        self._queue.append(command)
        if len(self._queue) >= self._early and not self._sent:
            self._send()
        self._work.set()
        return command.outcome

    def check_ready(self) -> None:
        """Raise Unavailable, with the reason, while appends are not taken."""
        if self._monitor is not None:
            self._monitor.check_writable()
        if self._down is not None:
            raise DatabaseAway(self._down)

    def abandon(self) -> None:
        """Drop the connection, and answer everyone at once: the database is known to be away."""
        if self._connection is not None:
            self._down = self._down or "the connection to the log is being reopened"
            self._connection.abandon()
        if self._statement is not None:
            self._statement.abandon()

    def renew(self, away_since: float) -> None:
        """Drop a connection from before an outage: it may lead to a server that is the primary no more."""
        if self._connected_at < away_since:
            self.abandon()

    async def wait_until_connected(self) -> None:
        """Wait until the appender is connected and accepts commands; `run` must be running."""
        await self._up.wait()

    async def run(self) -> None:
        """Serve until cancelled: connect, commit batches, and connect again with jittered back-off.

        Raises UnsafeDatabase when the database came back with settings that could lose an acknowledged append;
        LogRewound when it came back without facts that this process knows.
        """
        retrying = Retrying(
            psycopg.Error,
            DatabaseAway,
            back_off=BackOff(BACK_OFF),
            on_failure=lambda lost, _: self._connection_lost(lost),
        )
        try:
            async for attempt in retrying:
                with attempt:
                    async with open_connection(
                        self._conninfo, self._monitor and self._monitor.connections
                    ) as connection:
                        self._connection, self._connected_at = connection, monotonic()
                        await check_durability(connection)
                        await check_can_write(connection, thoroughly=self._is_doubtful)
                        await self.check_connection(connection)
                        self._is_doubtful = False
                        attempt.reset()
                        await self._serve(connection)
        finally:
            self._stop()

    async def _serve(self, connection: AsyncConnection[Any]) -> None:
        statement = PreparedStatement(connection, APPEND)
        self._notices = ReplicationNotices(connection)
        try:
            async with asyncio.timeout(self._answer_seconds):
                await statement.open(list_oids(parameters([], wake=self.wake)))
            statement.on_lost(self._work.set)
            self._statement = statement
            self._down = None
            self._up.set()
            self._log_return()
            while True:
                await self._work.wait()
                if connection.closed:
                    raise psycopg.OperationalError("the server has closed the connection")
                if not self._sent:
                    self._send()
                if not self._queue:
                    self._work.clear()
                if self._sent:
                    await self._commit(connection, statement)
        finally:
            self._statement = None
            statement.close()

    def _log_return(self) -> None:
        if self._lost_at is not None:
            self._log.warning("log.back", away_seconds=round(monotonic() - self._lost_at, 1))
            self._lost_at = None

    def _send(self) -> None:
        """Send the next batch.

        Also called by `append`: callers that are answered together send their next commands together, and the
        database would be idle until the last of them has. So the first half is sent early.
        """
        if self._statement is None:
            return
        self._sent = take_batch(self._queue, self._limit, self._most_bytes)
        if self._sent:
            self._sent_at = perf_counter()
            try:
                self._statement.send(parameters(self._sent, wake=self.wake))
            except Exception as fault:  # noqa: BLE001  # of the batch, not of whoever appends now: `_commit` deals with it
                self._unsendable = fault

    async def _answer(self, statement: PreparedStatement) -> tuple[Any, ...]:
        if self._unsendable is not None:
            fault, self._unsendable = self._unsendable, None
            raise fault
        span = tracer.start_span("append", attributes={"commands": len(self._sent)})
        try:
            async with asyncio.timeout(self._answer_seconds):
                return await statement.answer()
        except TimeoutError as late:
            # A commit waits for its synchronous standby without a bound of its own.
            span.record_exception(late)
            raise psycopg.OperationalError(f"no answer to an append within {self._answer_seconds} s") from late
        except Exception as fault:
            span.record_exception(fault)
            span.set_status(trace.StatusCode.ERROR, f"{type(fault).__name__}: {fault}")
            raise
        finally:
            span.end()

    async def _commit(self, connection: AsyncConnection[Any], statement: PreparedStatement) -> None:
        batch = self._sent
        try:
            row = await self._answer(statement)
        except Exception as fault:
            if not _has_rolled_back(connection):
                raise
            self._refuse_batch(batch, fault)
            return
        self._refuse_unreplicated(batch)
        recorded = settle(batch, *row)
        self.on_batch(len(batch), len(recorded), perf_counter() - self._sent_at)
        self._sent = []
        self._early = max(EARLIEST_COMMANDS, (len(batch) + len(self._queue)) // 2)
        if self._limit < self._most_events:
            self._limit = min(self._most_events, 2 * self._limit)
        if recorded:
            self._on_commit(recorded)

    def _refuse_unreplicated(self, batch: list[Waiting]) -> None:
        """Fail all callers of a batch with OutcomeUnknown if its commit did not wait for the synchronous standby."""
        reason = None if self._notices is None else self._notices.take_cancelled()
        if reason is None:
            return
        self._log.error("log.not_replicated", reason=reason, commands=len(batch))
        for command in batch:
            refuse(command, OutcomeUnknown("the commit may be missing on the synchronous standby: outcome unknown"))

    def _refuse_batch(self, batch: list[Waiting], fault: Exception) -> None:
        """Retry or refuse a batch that was rolled back as a whole: nothing of it took effect.

        A fault that any batch would have is returned to every caller. Anything else is the fault of one command:
        smaller and smaller batches isolate it, and the other commands are accepted.
        """
        self._sent = []
        if is_database_away(fault):
            self._log.warning("log.batch_refused", reason=str(fault).strip(), commands=len(batch))
            for command in batch:
                refuse(command, DatabaseAway(f"nothing was written: {describe_outage(fault)}"))
            if (getattr(fault, "sqlstate", None) or "").startswith(UNTIL_SOMEBODY_ACTS):
                self._is_doubtful = True
                raise fault  # connect anew, to whichever server is the primary, and take nothing until it can write
        elif len(batch) == 1:
            self._log.error("log.command_refused", reason=str(fault).strip(), stream=str(batch[0].append.stream_id))
            refuse(batch[0], fault)
        else:
            self._queue.extendleft(reversed(batch))
            self._work.set()
            self._limit = max(1, min(self._limit, len(batch)) // 2)

    def _connection_lost(self, lost: Exception) -> None:
        """Answer everyone at once: what was sent has an unknown outcome, what was not sent did not happen."""
        if self._lost_at is None:
            self._lost_at = monotonic()
            self._log.warning(
                "log.connection_lost", reason=str(lost.__cause__ or lost).strip(), in_flight=len(self._sent)
            )
        self._give_up(
            f"nothing was written: {describe_outage(lost)}",
            "the connection to the log was lost during the commit: outcome unknown",
        )

    def _stop(self) -> None:
        self._give_up("the log has stopped", "the log was stopped during the commit: outcome unknown")

    def _give_up(self, down: str, unknown: str) -> None:
        self._down = down
        self._up.clear()
        self._unsendable = None
        for command in self._sent:
            refuse(command, OutcomeUnknown(unknown))
        self._sent = []
        while self._queue:
            refuse(self._queue.popleft(), DatabaseAway(down))


def _has_rolled_back(connection: AsyncConnection[Any]) -> bool:
    """Return whether a failed statement certainly had no effect: the server said so, or it was never sent.

    A single statement outside a transaction commits after its result and before the server is ready again; so a
    server that answered an error and is ready has not committed it.
    """
    return not connection.closed and connection.info.transaction_status is TransactionStatus.IDLE
