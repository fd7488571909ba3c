"""Outages in the log: the end is said as loudly as the beginning, and each once."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from store.errors import Unavailable
from store.outage_log import OutageLog
from store.retrying import BackOff, BackOffBounds, Retrying

QUICK = BackOffBounds(first_seconds=0.001, longest_seconds=0.001)


@pytest.fixture
def log_lines() -> Iterator[list[dict[str, Any]]]:
    with capture_logs() as lines:
        yield lines  # pyright: ignore[reportReturnType]  # the lines are dictionaries


def create_log() -> OutageLog:
    times = iter([10.0, 12.5, 20.0, 20.1])
    return OutageLog("test", lost="link.lost", back="link.back", monotonic=lambda: next(times), link="a")


def test_an_outage_is_logged_when_it_begins_and_when_it_ends_at_the_same_level(log_lines: list[dict[str, Any]]) -> None:
    outages = create_log()
    outages.note_success()
    outages.note_failure("gone")
    outages.note_failure("still gone")
    outages.note_success(position=3)
    outages.note_success()
    assert log_lines == [
        {"event": "link.lost", "log_level": "warning", "reason": "gone", "link": "a"},
        {"event": "link.back", "log_level": "warning", "away_seconds": 2.5, "link": "a", "position": 3},
    ]


def test_the_end_of_an_outage_that_the_caller_logged_is_logged_too(log_lines: list[dict[str, Any]]) -> None:
    outages = create_log()
    outages.note_failure("refused", is_logged=True)
    outages.note_success()
    assert [line["event"] for line in log_lines] == ["link.back"]


async def test_a_retried_call_says_that_it_works_again(log_lines: list[dict[str, Any]]) -> None:
    faults = [Unavailable("away"), Unavailable("away"), None]

    async def work() -> None:
        await asyncio.sleep(0)
        fault = faults.pop(0)
        if fault is not None:
            raise fault

    await Retrying(Unavailable, back_off=BackOff(QUICK), outages=create_log()).call(work)
    assert [(line["event"], line["log_level"]) for line in log_lines] == [
        ("link.lost", "warning"),
        ("link.back", "warning"),
    ]


async def test_a_supervised_connection_says_that_it_is_open_again_while_it_lasts(
    log_lines: list[dict[str, Any]],
) -> None:
    opened: list[list[str]] = []
    async for attempt in Retrying(Unavailable, back_off=BackOff(QUICK), outages=create_log()):
        with attempt:
            if not opened:
                opened.append([])
                raise Unavailable("refused")
            attempt.reset()
            opened.append([line["event"] for line in log_lines])
    assert opened[-1] == ["link.lost", "link.back"]
