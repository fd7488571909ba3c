"""Under any schedule a read model is the fold of the log up to its checkpoint, less what is parked or skipped."""

import pytest
from hypothesis import HealthCheck, given, settings
from psycopg import AsyncConnection

from projections.reading import ReadBounds, ReadModels
from store.migrations import migrate
from tests.projections.playing import COUNTS, Play
from tests.projections.schedules import Step, schedules

laws = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], print_blob=True)


@settings(laws, max_examples=20)
@given(schedules)
async def test_nothing_is_lost_doubled_or_passed_over(database: str, schedule: list[Step]) -> None:
    await check(database, schedule)


@pytest.mark.long
@settings(laws, max_examples=5_000)
@given(schedules)
async def test_nothing_is_lost_doubled_or_passed_over_in_thousands_of_schedules(
    database: str, schedule: list[Step]
) -> None:
    await check(database, schedule)


async def check(database: str, schedule: list[Step]) -> None:
    await migrate(database, ["store", "projections"])
    models = ReadModels(database, ReadBounds(readers=1))
    async with models.opened(), await AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute("set synchronous_commit = off")
        await connection.execute(COUNTS.replace("create table", "create table if not exists").encode())
        await connection.execute(NOT_TAKEN)
        await Play(database, models, connection).play(schedule)


NOT_TAKEN = b"""
do $$ begin
    alter table projects add constraint not_taken check (name <> 'taken');
exception when duplicate_object then null;
end $$
"""
