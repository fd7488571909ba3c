"""Apply facts to a projection, and find the fact that it cannot fold."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection

from projections.runtime.projection import Cursor, Projection, Unfoldable
from store.errors import Unavailable
from store.log.records import Recorded, Unreadable

ONE: Final = "select 1"
"""Return a row: once it is here, everything before it in the pipeline has been executed."""

OF_THE_DATABASE: Final = (psycopg.Error, Unavailable, TimeoutError)
"""Errors that no fact causes."""

OF_A_FACT: Final = (Unfoldable, psycopg.DataError, psycopg.IntegrityError)
"""Errors that the content of a fact causes."""


async def apply(projection: Projection, cursor: Cursor, facts: Sequence[Recorded]) -> None:
    """Fold facts and write the changed rows. Raises Unfoldable, also for an event that cannot be decoded."""
    # A set of the types first: checking every fact took four times as long.
    if Unreadable in {type(recorded.fact) for recorded in facts}:
        raise next(unfoldable for recorded in facts if (unfoldable := _unread(recorded)) is not None)
    if facts:
        await projection.apply(cursor, facts)


def _unread(recorded: Recorded) -> Unfoldable | None:
    if isinstance(recorded.fact, Unreadable):
        return Unfoldable(recorded, f"{recorded.fact.topic} cannot be read: {recorded.fact.reason}")
    return None


def is_poisonous(fault: Exception) -> bool:
    """Return whether a fact may be the cause: a bug that one fact triggers must not block the others."""
    return isinstance(fault, OF_A_FACT) or not isinstance(fault, OF_THE_DATABASE)


async def find_poison(
    connection: AsyncConnection[Any],
    projection: Projection,
    facts: Sequence[Recorded],
    fault: Exception,
    *,
    try_seconds: float,
) -> Unfoldable | None:
    """Return the fact because of which facts could not be applied; None when they can be.

    PostgreSQL does not name the failing row of a batch: bisect for the shortest failing prefix, whose last
    fact is the poison fact. Nothing is written, and the caches are cleared. Raises TimeoutError.
    """
    projection.forget()
    if isinstance(fault, Unfoldable):
        return fault
    lacking, failing = 0, len(facts) + 1
    while failing - lacking > 1:
        middle = (lacking + failing) // 2
        found = await _try(connection, projection, facts[:middle], try_seconds)
        if found is None:
            lacking = middle
        elif isinstance(found, Unfoldable):
            return found
        else:
            failing, fault = middle, found
    return None if failing > len(facts) else Unfoldable(facts[failing - 1], format_fault(fault))


async def _try(
    connection: AsyncConnection[Any], projection: Projection, facts: Sequence[Recorded], try_seconds: float
) -> Exception | None:
    """Apply facts and roll back; return the error, if a fact may be the cause."""
    try:
        async with asyncio.timeout(try_seconds), connection.pipeline(), connection.transaction(force_rollback=True):
            await apply(projection, connection.cursor(binary=True), facts)
            asked = connection.cursor(binary=True)
            await asked.execute(ONE)
            await asked.fetchone()
    except Exception as fault:
        if not is_poisonous(fault):
            raise
        return fault
    finally:
        projection.forget()
    return None


def format_fault(fault: Exception) -> str:
    """Return the error without the row that PostgreSQL quotes: it may hold private data."""
    if isinstance(fault, psycopg.Error) and fault.diag.message_primary:
        return fault.diag.message_primary
    return repr(fault)
