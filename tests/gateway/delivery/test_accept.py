"""`Accept` and `Accept-Encoding` by ranges and weights."""

import pytest

from gateway.delivery.accept import accepts_coding, prefers
from tests.support.gateway.given import TRANSFORM_CHAIN, Caller

STREAM, JSON = "text/event-stream", "application/json"


@pytest.mark.parametrize(
    "accept",
    [
        "text/event-stream",
        "TEXT/Event-Stream",
        "text/event-stream, */*",
        "text/event-stream;q=0.5, */*;q=0.1",
        "application/json;q=0.1, text/event-stream;q=0.2",
        "application/json, text/event-stream",
        "text/*",
        "text/event-stream; charset=utf-8",
    ],
)
def test_a_stream_is_preferred(accept: str) -> None:
    assert prefers(accept.encode(), STREAM, JSON)


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "",
        "*/*",
        "application/json",
        "text/event-stream;q=0",
        "text/event-stream;q=0, */*",
        "text/event-stream;q=0.4, application/json;q=0.5",
        "x-text/event-stream",
        "text/event-streams",
        "text/event-stream;q=2",
        "text/html, application/xhtml+xml, */*;q=0.8",
    ],
)
def test_json_is_preferred(accept: str | None) -> None:
    assert not prefers(None if accept is None else accept.encode(), STREAM, JSON)


@pytest.mark.parametrize(
    ("header", "is_accepted"),
    [
        (None, False),
        ("", False),
        ("gzip", True),
        ("GZip;q=0.1, br", True),
        ("gzip;q=0", False),
        ("*", True),
        ("gzip;q=0, *", False),
        ("br, deflate", False),
        ("identity", False),
    ],
)
def test_gzip_is_accepted_by_name_or_range(header: str | None, *, is_accepted: bool) -> None:
    assert accepts_coding(None if header is None else header.encode(), "gzip") is is_accepted


async def test_events_are_a_page_or_a_stream_by_the_ranges_of_all_lines(ada: Caller) -> None:
    run = await ada.ended_run(TRANSFORM_CHAIN, {})
    path = f"/v1/runs/{run['id']}/events"
    page = await ada.get(path, headers={"accept": "text/event-stream;q=0, */*"})
    assert page.headers["content-type"] == "application/json"
    assert "Accept" in page.headers["vary"].split(", ")
    token = {"authorization": page.request.headers["authorization"]}
    lines = [("accept", "application/json;q=0.1"), ("accept", "Text/Event-Stream"), *token.items()]
    stream = await ada.client.get(path, headers=lines)
    assert stream.headers["content-type"] == "text/event-stream"
    assert "Accept" in stream.headers["vary"].split(", ")
