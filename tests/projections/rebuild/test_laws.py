"""Law: whatever the history and however it came in batches, a rebuild from zero is byte for byte what is live."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.fact import Fact
from projections.settings import RebuildSettings
from tests.support.projections import histories
from tests.support.projections.given import WAIT_SECONDS, new_id, open_harness, run_in_background
from tests.support.projections.rebuilds import create_projections, read_all_rows, run_rebuild

of_any_noun = st.one_of(
    histories.mix_streams(histories.project_facts, histories.project_facts),
    histories.mix_streams(histories.workflow_facts, histories.workflow_facts),
    histories.mix_streams(histories.asset_facts, histories.asset_facts),
    histories.mix_streams(histories.run_starts, histories.run_facts),
)


def laws(examples: int) -> settings:
    return settings(max_examples=examples, suppress_health_check=[HealthCheck.function_scoped_fixture])


@laws(10)
@given(st.lists(of_any_noun, min_size=1, max_size=4), st.integers(1, 30))
async def test_a_rebuild_from_zero_is_what_is_live(
    database: str, told: list[list[tuple[int, Fact]]], page_events: int
) -> None:
    await check(database, told, page_events)


@pytest.mark.long
@laws(150)
@given(st.lists(of_any_noun, min_size=1, max_size=4), st.integers(1, 30))
async def test_a_rebuild_from_zero_is_what_is_live_for_long(
    database: str, told: list[list[tuple[int, Fact]]], page_events: int
) -> None:
    await check(database, told, page_events)


async def check(database: str, told: list[list[tuple[int, Fact]]], page_events: int) -> None:
    """Append histories, let a worker fold them as they come, and rebuild; each example adds to the same log."""
    async with open_harness(database) as harness:
        checkpoints = harness.create_checkpoints()
        live = create_projections()
        async with run_in_background(harness.create_worker(checkpoints, *live).run()):
            for history in told:
                ids = [new_id() for _ in range(4)]
                versions = [0] * 4
                for stream, fact in history:
                    await harness.append_facts(ids[stream], fact, after=versions[stream])
                    versions[stream] += 1
            head, _ = await harness.log.head()
            for projection in live:
                await checkpoints.wait_for(projection.name, head, WAIT_SECONDS)
            before = await read_all_rows(harness)
            report = await run_rebuild(database, create_projections(), bounds=RebuildSettings(page_events=page_events))
            assert report.same, report
            assert await read_all_rows(harness) == before
