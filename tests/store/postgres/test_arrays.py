"""Columns packed here arrive in PostgreSQL as they are."""

from datetime import UTC, datetime
from typing import TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import connect

from store.postgres.arrays import Column, longs, register, texts, times, uuids

LONG = st.integers(-(2**63), 2**63 - 1)
LONGS = st.lists(LONG)
SAME_LONGS = st.tuples(LONG, st.integers(1, 4)).map(lambda same: [same[0]] * same[1])
UUIDS = st.lists(st.none() | st.uuids())
TEXTS = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
TIMES = st.lists(
    st.none()
    | st.datetimes(
        min_value=datetime(1900, 1, 1),  # noqa: DTZ001  # hypothesis wants naive bounds
        max_value=datetime(2200, 1, 1),  # noqa: DTZ001  # as above
        timezones=st.just(UTC),
    )
)
T = TypeVar("T")


def repeat_values(values: list[T]) -> list[T]:
    """Repeat each value, then all of them: most rows of a batch repeat an earlier one."""
    return [value for value in values for _ in range(2)] + values


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    LONGS | LONGS.map(repeat_values) | SAME_LONGS,
    UUIDS | UUIDS.map(repeat_values),
    TEXTS | TEXTS.map(repeat_values),
    TIMES | TIMES.map(repeat_values),
)
def test_columns_arrive_as_they_are(
    empty_database: str,
    some_longs: list[int],
    some_uuids: list[object],
    some_texts: list[str],
    some_times: list[datetime | None],
) -> None:
    columns: list[tuple[Column, list[object]]] = [
        (longs(some_longs), [*some_longs]),
        (uuids(some_uuids), [*some_uuids]),  # pyright: ignore[reportArgumentType]  # hypothesis makes UUIDs and nulls
        (texts(some_texts), [*some_texts]),
        (times(some_times), [*some_times]),
    ]
    with connect(empty_database, autocommit=True) as connection:
        register(connection)
        for column, values in columns:
            row = connection.execute("select %b", [column]).fetchone()
            assert row == (values,)
