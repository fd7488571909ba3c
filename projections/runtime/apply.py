"""Applying facts to a projection, and finding the one that it cannot fold."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection

from projections.runtime.projection import Cursor, Projection, Unfoldable
from store.errors import Unavailable
from store.log.records import Recorded, Unreadable

ONE: Final = "select 1"
"""Ask for a row, so that all that came before in the pipeline has been carried out once it is here."""

OF_THE_DATABASE: Final = (psycopg.Error, Unavailable, TimeoutError)
"""What goes wrong without any fact being at fault."""

OF_A_FACT: Final = (Unfoldable, psycopg.DataError, psycopg.IntegrityError)
"""What goes wrong because of what a fact says."""


async def apply(projection: Projection, cursor: Cursor, facts: Sequence[Recorded]) -> None:
    """Fold facts and write what they change. Raises Unfoldable, also for an event that cannot be read."""
    # Kinds first: to look at every fact for one that cannot be read took four times as long.
    if Unreadable in {type(one.fact) for one in facts}:
        raise next(unfoldable for one in facts if (unfoldable := _unread(one)) is not None)
    if facts:
        await projection.apply(cursor, facts)


def _unread(one: Recorded) -> Unfoldable | None:
    if isinstance(one.fact, Unreadable):
        return Unfoldable(one, f"{one.fact.topic} cannot be read: {one.fact.reason}")
    return None


def is_poisonous(fault: Exception) -> bool:
    """Tell whether a fault may come from a fact: a bug that one fact brings out must not stop all the others."""
    return isinstance(fault, OF_A_FACT) or not isinstance(fault, OF_THE_DATABASE)


async def poison_of(
    connection: AsyncConnection[Any],
    projection: Projection,
    facts: Sequence[Recorded],
    fault: Exception,
    *,
    try_seconds: float,
) -> Unfoldable | None:
    """Find the fact because of which facts could not be applied; None where they can.

    PostgreSQL names no row of a batch, so that the shortest beginning that fails is looked for by halves: its last
    fact is the one. Nothing is written, and the projection is left with nothing remembered. Raises TimeoutError.
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
    return None if failing > len(facts) else Unfoldable(facts[failing - 1], said_of(fault))


async def _try(
    connection: AsyncConnection[Any], projection: Projection, facts: Sequence[Recorded], try_seconds: float
) -> Exception | None:
    """Apply facts and take it back; gives what went wrong, if it may come from a fact."""
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


def said_of(fault: Exception) -> str:
    """Say what went wrong, without the row that PostgreSQL quotes: it may hold what is nobody's business."""
    if isinstance(fault, psycopg.Error) and fault.diag.message_primary:
        return fault.diag.message_primary
    return repr(fault)
