"""Under any schedule a read model is the fold of the log up to its checkpoint, less what is parked or skipped."""

from collections.abc import AsyncGenerator

import pytest
from hypothesis import HealthCheck, given, settings
from psycopg import AsyncConnection

from projections.runtime.read_pool import ReadModels
from projections.settings import ProjectionSettings
from store.postgres.migrations import migrate
from tests.support.projections.schedules import Step, schedules
from tests.support.projections.simulator import COUNTS, Simulator

laws = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], print_blob=True)


@pytest.fixture
async def simulator(database: str) -> AsyncGenerator[Simulator]:
    """Tables, and connections to them, which all schedules share: each begins by clearing the tables."""
    await migrate(database, ["store", "projections"])
    models = ReadModels(database, ProjectionSettings(readers=1))
    async with models.open(), await AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute("set synchronous_commit = off")
        await connection.execute(COUNTS.encode())
        await connection.execute(b"alter table projects add constraint not_taken check (name <> 'taken')")
        yield Simulator(database, models, connection)


@settings(laws, max_examples=20)
@given(schedules)
async def test_nothing_is_lost_doubled_or_passed_over(simulator: Simulator, schedule: list[Step]) -> None:
    await simulator.create_fresh().run(schedule)


@pytest.mark.long
@settings(laws, max_examples=5_000)
@given(schedules)
async def test_nothing_is_lost_doubled_or_passed_over_in_thousands_of_schedules(
    simulator: Simulator, schedule: list[Step]
) -> None:
    await simulator.create_fresh().run(schedule)
