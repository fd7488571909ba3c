"""Expected failures of the log."""

from typing import Final, cast
from uuid import UUID

import psycopg
from psycopg import errors as pg
from psycopg_pool import PoolTimeout, TooManyRequests


class Conflict(Exception):  # noqa: N818  # an expected answer: reload and decide again
    """The stream, or a stream that guards the command, has new facts."""

    def __init__(self, stream_id: UUID, expected_version: int) -> None:
        """Create it for the command that lost."""
        super().__init__(f"stream {stream_id} is no longer at version {expected_version}, or a guard has changed")
        self.stream_id = stream_id
        self.expected_version = expected_version


class Unavailable(Exception):  # noqa: N818  # the field's word for it
    """The log cannot be read or written now. Nothing of the request took effect."""

    def __init__(self, reason: str, *, retry_after_seconds: float = 1.0) -> None:
        """Create it with the reason and the seconds after which a retry makes sense."""
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds


class DatabaseAway(Unavailable):
    """The database cannot be reached, or does not do what it is asked now: a later attempt may succeed."""


class OutcomeUnknown(Unavailable):
    """The connection was lost during an append: it may or may not have committed."""


class QueueFull(Unavailable):
    """The queue of appends is full; this one was refused at once."""


class FactTooLarge(Exception):  # noqa: N818  # a limit of the log, named in design
    """A fact is larger than 256 KB; large values belong in the content store."""

    def __init__(self, topic: str, size: int, limit: int) -> None:
        """Create it for a fact and its size."""
        super().__init__(f"a {topic} fact has {size} bytes, the limit is {limit}")


class UnstorableText(ValueError):  # noqa: N818  # names what is wrong with the value
    """A text contains characters that cannot be stored; the gateway refuses such text."""


class TooDeep(ValueError):  # noqa: N818  # names what is wrong with the value
    """A value is nested too deeply for some reader of it."""

    def __init__(self, limit: int) -> None:
        """Create it with the limit."""
        super().__init__(f"the value is nested more than {limit} levels deep")


class ContentTooLarge(Exception):  # noqa: N818  # a limit of the content store, named in settings
    """A content exceeds the limit of the content store."""

    def __init__(self, size: int | None, limit: int) -> None:
        """Create it with the size, or None: a value far too large is not encoded only to be measured."""
        super().__init__(f"a content of {size or 'too many'} bytes exceeds the limit of {limit}")
        self.size = size
        self.limit = limit


class ContentMissing(Exception):  # noqa: N818  # the field's word for it
    """A reference to a content that the workspace does not have."""

    def __init__(self, reference: str) -> None:
        """Create it for a reference."""
        super().__init__(f"there is no content {reference[:90]} in this workspace")
        self.reference = reference


class UnsafeDatabase(Exception):  # noqa: N818  # a refusal to start
    """The database could lose an acknowledged append, or has a schema that this version does not know."""


class UnreadableEvent(Exception):  # noqa: N818  # poison: projections park on it
    """A stored event cannot be decoded by this version of the code."""

    def __init__(self, position: int, topic: str, reason: str) -> None:
        """Create it for an event, with the reason."""
        super().__init__(f"event {position} ({topic}) cannot be read: {reason}")
        self.position = position
        self.topic = topic
        self.reason = reason


class NotAnswered(psycopg.OperationalError):
    """The server has been silent for too long: it is stopped, or the network is cut. The connection is closed."""


AWAY: Final = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    pg.ReadOnlySqlTransaction,
    pg.IdleInTransactionSessionTimeout,
    TimeoutError,
)
"""Every way in which a database is away: caused by the server, the network or an operator.

OperationalError has the SQLSTATE classes 08 (connection), 28 (login), 40 (rolled back), 53 (out of disk, memory or
connections), 55 (not now), 57 (cancelled, shutdown, recovery) and 58 (I/O). Class 25 is an InternalError in psycopg,
so read-only servers (25006) are named here.
"""

NOT_AWAY: Final = (pg.ProgramLimitExceeded,)
"""Operational errors that the statement itself causes; a repetition fails the same way."""

OUTAGES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (pg.ReadOnlySqlTransaction, "the database is read-only: a standby, a failover under way, or a full managed disk"),
    (pg.DiskFull, "the disk of the database is full"),
    (pg.OutOfMemory, "the database is out of memory"),
    (pg.TooManyConnections, "the database has no free connections"),
    (pg.CannotConnectNow, "the database is starting up, shutting down or in recovery"),
    (pg.AdminShutdown, "the database is shutting down, or an administrator ended the connection"),
    (pg.CrashShutdown, "the database has crashed and is restarting"),
    (NotAnswered, "the database does not answer"),
    (PoolTimeout, "no connection to the database became free in time"),
    (TooManyRequests, "too many requests wait for a connection to the database"),
    (pg.QueryCanceled, "the statement was cancelled, or took longer than its timeout"),
)
"""What is said of an outage, by the class of the error: the messages of PostgreSQL name hosts and users."""

CONNECT_REASONS: Final = (
    ("too many clients", pg.TooManyConnections),
    ("remaining connection slots", pg.TooManyConnections),
    ("too many connections", pg.TooManyConnections),
    ("not accepting", pg.CannotConnectNow),
    ("starting up", pg.CannotConnectNow),
    ("shutting down", pg.CannotConnectNow),
    ("recovery mode", pg.CannotConnectNow),
    ("read-only", pg.ReadOnlySqlTransaction),
)
"""A connection that is refused has no SQLSTATE in libpq, only a message."""


def is_database_away(fault: BaseException) -> bool:
    """Return whether an error means that the database is away, so that a later attempt may succeed."""
    if isinstance(fault, BaseExceptionGroup):
        return all(is_database_away(each) for each in cast("BaseExceptionGroup[BaseException]", fault).exceptions)
    if isinstance(fault, Unavailable):
        return True
    if isinstance(fault, AWAY):
        return not isinstance(fault, NOT_AWAY)
    # A connection that is lost while libpq reads a result gives an error without SQLSTATE, of no particular class.
    return type(fault) is psycopg.DatabaseError and fault.sqlstate is None


def describe_outage(fault: BaseException) -> str:
    """Return what an outage is, in words that are safe to show to callers."""
    if isinstance(fault, BaseExceptionGroup):
        return describe_outage(cast("BaseExceptionGroup[BaseException]", fault).exceptions[0])
    if isinstance(fault, Unavailable):
        return str(fault)
    message, sqlstate = str(fault), getattr(fault, "sqlstate", None)
    kind = next((kind for words, kind in CONNECT_REASONS if words in message), type(fault))
    otherwise = (
        "the database cannot be reached" if sqlstate is None else f"the database refused with SQLSTATE {sqlstate}"
    )
    return next((words for known, words in OUTAGES if issubclass(kind, known)), otherwise)
