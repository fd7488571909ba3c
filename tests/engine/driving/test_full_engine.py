"""A full engine: what waits for a place is ended at once when somebody wants that, and nothing is forgotten."""

import asyncio
from collections.abc import MutableSequence
from dataclasses import replace
from uuid import UUID

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from bus.feed import Feed
from bus.settings import FeedSettings
from commands.runs.lifecycle import CancelRun
from domain.runs.run import RunStatus
from engine.driving import intake
from store.settings import StoreSettings
from tests.support.engine.harness import Harness, asks, open_harness, reviews
from tests.support.graphs import graph, node
from tests.support.projections.given import run_in_background
from tests.support.waiting import eventually

HELD = graph(asks("a", "held"))


async def cancel_run(harness: Harness, run: UUID) -> None:
    await harness.does(CancelRun(target_id=run, user_id="ada"))
    await harness.wait_until_ended(run, RunStatus.CANCELLED)


async def test_runs_that_wait_for_a_place_are_cancelled_at_once(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine(active_runs=1):
        held = await harness.begin(HELD)
        await harness.wait_until_called("a")
        # One has the only place, one waits behind it, and for the others there is no room even to wait.
        queued = [await harness.begin(HELD) for _ in range(4)]
        for run in reversed(queued):
            await cancel_run(harness, run)
            assert (await harness.run(run)).steps == {}
        assert not (await harness.run(held)).has_ended
        await cancel_run(harness, held)
    assert (harness.fake_model.calls["a"], harness.fake_model.aborted["a"]) == (1, 1)


async def test_a_person_is_heard_while_there_is_no_room_for_another_run(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine(active_runs=2):
        asked = await harness.begin(graph(reviews("d")))
        await harness.wait_until(asked, lambda state: state.waiting == 1, "waits")
        held = [await harness.begin(HELD) for _ in range(6)]
        await harness.wait_until_called("a", times=2)
        await harness.decide(asked, "d")
        await cancel_run(harness, held[0])
        await cancel_run(harness, held[1])
        harness.fake_model.open.set()
        await harness.wait_until_ended(asked)
        for run in held[2:]:
            await harness.wait_until_ended(run)


async def test_every_run_that_found_no_room_is_begun_in_its_turn(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "PAGE_EVENTS", 3)  # so that it takes many pages to catch up
    never = 600.0  # it is not the takeover that finds them
    async with open_harness(database) as harness, harness.run_engine(active_runs=2, heartbeat_seconds=never):
        workflow = await harness.workflow(await harness.project(), graph(node("n", config={"expression": "inputs.n"})))
        held = [await harness.begin(HELD), await harness.begin(HELD)]
        await harness.wait_until_called("a", times=2)
        runs = [await harness.start(workflow, {"n": n}) for n in range(40)]
        harness.fake_model.open.set()
        for n, run in enumerate(runs):
            assert (await harness.wait_until_ended(run)).outputs["n"].value == n
        for run in held:
            await harness.wait_until_ended(run)
        await harness.wait_until_ended(await harness.start(workflow, {"n": 40}))


async def test_many_who_want_to_end_are_heard_while_all_places_are_held(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine(active_runs=2, ending_runs=1):
        held = [await harness.begin(HELD) for _ in range(2)]
        await harness.wait_until_called("a", times=2)
        queued = [await harness.begin(HELD) for _ in range(8)]
        await asyncio.gather(*(harness.does(CancelRun(target_id=run, user_id="ada")) for run in queued))
        for run in queued:
            await harness.wait_until_ended(run, RunStatus.CANCELLED)
        assert not (await harness.run(held[0])).has_ended


@pytest.mark.parametrize("buffered_events", [1, 20])  # what is heard has to be read too, or only what waits in the log
async def test_a_log_that_cannot_be_read_for_a_while_does_not_cost_an_engine_what_it_has_in_hand(
    database: str, buffered_events: int
) -> None:
    bounds = StoreSettings(readers=1, read_timeout_seconds=0.5)
    async with open_harness(database, bounds=bounds) as second_harness:
        feed = Feed(second_harness.log, FeedSettings(buffer_events=buffered_events))
        harness = replace(second_harness, feed=feed)
        with capture_logs() as said:
            async with (
                run_in_background(feed.run()),
                harness.run_engine(active_runs=4, heartbeat_seconds=600.0) as engine,
            ):
                workflow = await harness.workflow(await harness.project(), HELD)
                runs = [await harness.start(workflow)]
                await harness.wait_until_called("a")
                runs += [await harness.start(workflow) for _ in range(60)]
                await harness.wait_until_called("a", times=3)
                epoch = engine.live_epochs
                async with harness.log.sessions.connection():  # the only one
                    harness.fake_model.open.set()
                    await eventually_said(said, "engine.log_not_read")
                await eventually_said(said, "engine.log_read_again")
                for run in runs:
                    await harness.wait_until_ended(run)
                assert engine.live_epochs == epoch


async def eventually_said(said: MutableSequence[EventDict], event: str) -> None:
    async def is_logged() -> bool:
        return any(line["event"] == event for line in said)

    await eventually(is_logged, what=f"{event} is said")


async def test_runs_that_were_to_end_when_their_engine_was_lost_end_though_the_next_one_is_full(database: str) -> None:
    async with open_harness(database) as harness:
        held = [await harness.begin(HELD) for _ in range(2)]
        to_end = [await harness.begin(HELD) for _ in range(6)]
        for run in to_end:
            await harness.does(CancelRun(target_id=run, user_id="ada"))
        await harness.wait_for_read_models()
        async with harness.run_engine(active_runs=2):
            for run in to_end:
                await harness.wait_until_ended(run, RunStatus.CANCELLED)
            await harness.wait_until_called("a", times=2)
            assert not (await harness.run(held[0])).has_ended
