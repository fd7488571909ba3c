"""Logs: one shape for ours and the libraries', with the trace that they belong to."""

import io
import logging
from collections.abc import Generator
from typing import Literal

import msgspec
import pytest
import structlog
from opentelemetry import trace

from callsheet.telemetry.logging import configure_logging

CONTEXT = trace.SpanContext(trace_id=0xABC, span_id=0xDEF, is_remote=False)


@pytest.fixture
def lines() -> Generator[io.StringIO]:
    """Captured JSON log lines; the test runner's logging is restored afterwards."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    stream = io.StringIO()
    configure_logging("info", "json", stream)
    yield stream
    root.handlers = before
    root.setLevel(level)
    structlog.reset_defaults()


def read(lines: io.StringIO) -> list[dict[str, object]]:
    return [msgspec.json.decode(line, type=dict[str, object]) for line in lines.getvalue().splitlines()]


def test_a_line_of_ours_is_one_json_object(lines: io.StringIO) -> None:
    structlog.get_logger("store").info("log.appended", positions=3)
    (line,) = read(lines)
    assert line["event"] == "log.appended"
    assert line["level"] == "info"
    assert line["positions"] == 3
    assert str(line["timestamp"]).endswith("Z")


def test_a_line_of_a_library_has_the_same_shape(lines: io.StringIO) -> None:
    logging.getLogger("uvicorn.error").warning("gone after %d s", 5)
    (line,) = read(lines)
    assert (line["event"], line["level"], line["logger"]) == ("gone after 5 s", "warning", "uvicorn.error")


def test_what_uvicorn_says_in_colours_is_said_once_and_without_them(lines: io.StringIO) -> None:
    logging.getLogger("uvicorn.error").info("Started %d", 5, extra={"color_message": "Started \x1b[36m%d\x1b[0m"})
    (line,) = read(lines)
    assert line["event"] == "Started 5"
    assert "color_message" not in line


def test_less_than_the_level_is_not_written(lines: io.StringIO) -> None:
    structlog.get_logger().debug("detail")
    logging.getLogger("uvicorn.access").info("GET /")
    assert read(lines) == []


def test_a_line_carries_the_ids_of_its_trace(lines: io.StringIO) -> None:
    with trace.use_span(trace.NonRecordingSpan(CONTEXT)):
        structlog.get_logger().info("inside")
        logging.getLogger("psycopg").warning("inside too")
    assert [line["trace_id"] for line in read(lines)] == [f"{0xABC:032x}"] * 2
    assert [line["span_id"] for line in read(lines)] == [f"{0xDEF:016x}"] * 2


def test_a_traceback_is_part_of_its_line(lines: io.StringIO) -> None:
    try:
        raise ValueError("no")
    except ValueError:
        structlog.get_logger().exception("failed")
    (line,) = read(lines)
    assert "ValueError" in str(line["exception"])


@pytest.mark.parametrize("renderer", ["json", "console"])
def test_a_traceback_shows_no_variables_since_those_hold_tokens_and_keys(
    lines: io.StringIO, renderer: Literal["json", "console"]
) -> None:
    configure_logging("info", renderer, lines)
    token = hex(2**200)  # nothing that stands in the source, which console tracebacks quote
    try:
        raise ValueError(len(token))
    except ValueError:
        structlog.get_logger().exception("failed")
    assert "ValueError" in lines.getvalue()
    assert token not in lines.getvalue()
