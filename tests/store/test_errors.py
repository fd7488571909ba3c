"""Outages of the database are distinguished from faults of a statement, with messages that reveal nothing."""

import psycopg
import pytest
from psycopg import errors as pg
from psycopg_pool import PoolTimeout

from store.errors import DatabaseAway, NotAnswered, Unavailable, describe_outage, is_database_away

AWAY = [
    (pg.ReadOnlySqlTransaction(), "read-only"),
    (pg.DiskFull(), "disk"),
    (pg.OutOfMemory(), "memory"),
    (pg.TooManyConnections(), "no free connections"),
    (pg.QueryCanceled(), "cancelled"),
    (pg.AdminShutdown(), "shutting down"),
    (pg.CrashShutdown(), "crashed"),
    (pg.CannotConnectNow(), "recovery"),
    (pg.IdleInTransactionSessionTimeout(), "SQLSTATE 25P03"),
    (pg.IoError(), "SQLSTATE 58030"),
    (pg.DeadlockDetected(), "SQLSTATE 40P01"),
    (NotAnswered(), "does not answer"),
    (PoolTimeout(), "no connection"),
    (TimeoutError(), "cannot be reached"),
    (psycopg.InterfaceError("the connection is closed"), "cannot be reached"),
    (psycopg.OperationalError('connection to server at "10.1.2.3", user "ada" failed: timeout'), "cannot be reached"),
    (psycopg.OperationalError("FATAL:  sorry, too many clients already"), "no free connections"),
    (psycopg.OperationalError("FATAL:  the database system is starting up"), "recovery"),
    (psycopg.DatabaseError("server closed the connection unexpectedly"), "cannot be reached"),
    (ExceptionGroup("two", [pg.DiskFull(), TimeoutError()]), "disk"),
]
NOT_AWAY = [
    pg.UniqueViolation(),
    pg.UndefinedTable(),
    pg.InvalidTextRepresentation(),
    pg.ProgramLimitExceeded(),
    pg.InsufficientPrivilege(),
    ZeroDivisionError(),
    ExceptionGroup("two", [pg.DiskFull(), ZeroDivisionError()]),
]


@pytest.mark.parametrize(("fault", "words"), AWAY, ids=lambda each: type(each).__name__)
def test_an_outage_is_known_and_said_without_hosts_and_users(fault: Exception, words: str) -> None:
    assert is_database_away(fault)
    said = describe_outage(fault)
    assert words in said
    assert "10.1.2.3" not in said
    assert "ada" not in said.replace("database", "")


@pytest.mark.parametrize("fault", NOT_AWAY, ids=lambda each: type(each).__name__)
def test_what_a_statement_causes_itself_is_no_outage(fault: Exception) -> None:
    assert not is_database_away(fault)


@pytest.mark.parametrize("fault", [Unavailable("not now"), DatabaseAway("not now")])
def test_what_is_known_as_unavailable_keeps_its_words(fault: Exception) -> None:
    assert is_database_away(fault)
    assert describe_outage(fault) == "not now"
