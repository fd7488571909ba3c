"""Local times: the next moment at which clocks of a time zone show a time, also when these clocks change."""

from datetime import UTC, date, datetime

import pytest

from domain.graphs.configs import LocalTime
from domain.local_time import Day, find_next_time
from tests.support.graphs import find_problems, graph, node


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "clock", "zone", "day", "found"),
    [
        ("2026-12-01T07:59", "09:00", "Europe/Berlin", "any", "2026-12-01T08:00"),
        ("2026-12-01T08:00", "09:00", "Europe/Berlin", "any", "2026-12-02T08:00"),
        ("2026-07-01T00:00", "09:00", "Europe/Berlin", "any", "2026-07-01T07:00"),
        ("2026-12-04T07:00", "09:00", "Europe/Berlin", "working", "2026-12-04T08:00"),
        ("2026-12-04T09:00", "09:00", "Europe/Berlin", "working", "2026-12-07T08:00"),
        ("2026-12-04T07:00", "09:00", "Europe/Berlin", "next_working", "2026-12-07T08:00"),
        ("2026-12-06T23:30", "09:00", "Europe/Berlin", "next_working", "2026-12-08T08:00"),  # Monday there already
        ("2026-12-06T23:30", "09:00", "America/New_York", "next_working", "2026-12-07T14:00"),
        ("2026-03-29T00:00", "02:30", "Europe/Berlin", "any", "2026-03-29T01:30"),  # skipped: it is 03:30 there
        ("2026-03-28T12:00", "09:00", "Europe/Berlin", "any", "2026-03-29T07:00"),
        ("2026-10-25T00:00", "02:30", "Europe/Berlin", "any", "2026-10-25T00:30"),  # the first of two
        ("2026-10-25T00:45", "02:30", "Europe/Berlin", "any", "2026-10-26T01:30"),  # not the second
        ("2026-12-01T00:00", "00:00", "Asia/Kathmandu", "any", "2026-12-01T18:15"),
    ],
)
def test_the_next_moment_is_found(now: str, clock: str, zone: str, day: Day, found: str) -> None:
    assert find_next_time(utc(now), clock, zone, day, ()) == utc(found)


def test_holidays_are_left_out() -> None:
    holidays = (date(2026, 12, 25), date(2026, 12, 28))
    found = find_next_time(utc("2026-12-24T12:00"), "09:00", "Europe/Berlin", "next_working", holidays)
    assert found == utc("2026-12-29T08:00")


def test_a_graph_with_an_unknown_time_zone_or_time_is_refused() -> None:
    at = {"time": "24:00", "timezone": "Europe/Berlin"}
    assert list(find_problems(graph(node(kind="delay", config={"at": at})))) == ["/nodes/0/config/at/time"]
    at = {"time": "09:00", "timezone": "Berlin"}
    found = find_problems(graph(node(kind="delay", config={"at": at})))
    assert list(found) == ["/nodes/0/config/at/timezone"]
    assert "Europe/Berlin" in found["/nodes/0/config/at/timezone"]
    both = {"assignees": [{"user": "a"}], "deadline": {"after_seconds": 5, "at": {**at, "timezone": "UTC"}}}
    assert list(find_problems(graph(node(kind="human", config=both)))) == ["/nodes/0/config/deadline/at"]
    assert LocalTime(time="09:00", timezone="UTC").day == "any"


@pytest.mark.parametrize("zone", ["../etc/passwd", "/etc/localtime", "", "x" * 99, "Europe", "\0"])
def test_what_is_no_name_of_a_time_zone_is_refused(zone: str) -> None:
    at = {"time": "09:00", "timezone": zone}
    assert list(find_problems(graph(node(kind="delay", config={"at": at})))) == ["/nodes/0/config/at/timezone"]
