"""Columns packed here arrive in PostgreSQL as they are."""

from datetime import UTC, datetime

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import connect

from store.arrays import Column, longs, register, texts, times, uuids

LONGS = st.lists(st.integers(-(2**63), 2**63 - 1))
UUIDS = st.lists(st.none() | st.uuids())
TEXTS = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
TIMES = st.lists(st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001  # hypothesis wants naive bounds


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LONGS, UUIDS, TEXTS, TIMES)
def test_columns_arrive_as_they_are(
    empty_database: str,
    some_longs: list[int],
    some_uuids: list[object],
    some_texts: list[str],
    some_times: list[datetime],
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
