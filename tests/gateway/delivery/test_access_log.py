"""The access log: the trace of every refused request is on a line, which no request can forge."""

from collections.abc import Generator
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.delivery.access_log import AccessLog
from gateway.http.trace import Trace
from tests.support.gateway.given import Caller, Environment, new_id
from tests.support.servers.raw_http import exchange

Lines = list[Any]


@pytest.fixture
def lines() -> Generator[Lines]:
    with capture_logs() as captured:
        yield captured


def find_lines(lines: Lines, trace_id: str) -> Lines:
    return [line for line in lines if line["event"] == "request" and line["trace_id"] == trace_id]


async def test_every_trace_id_of_a_problem_is_on_a_line(ada: Caller, lines: Lines) -> None:
    answers = [
        await ada.get("/v1/projects?colour=red"),
        await ada.get("/v1/projects", headers={"authorization": "Bearer nonsense"}),
        await ada.get("/v1/projects/prj_nothing"),
        await ada.get("/v1/nothing"),
        await ada.ask("DELETE", "/v1/projects"),
        await ada.post("/v1/projects", {"name": 7}),
    ]
    for answer in answers:
        (line,) = find_lines(lines, answer.json()["trace_id"])
        assert (line["status"], line["code"]) == (answer.status_code, answer.json()["code"])
        assert line["path"] == answer.request.url.raw_path.decode().partition("?")[0]
    (line,) = find_lines(lines, answers[0].json()["trace_id"])
    assert (line["workspace"], line["operation"]) == (str(ada.workspace_id), "listProjects")


async def test_a_request_that_cannot_be_parsed_is_on_a_line(environment: Environment, lines: Lines) -> None:
    (answer,) = await exchange(environment.url, [b"GET / HTTP/1.1\r\nHost: x\r\nBad Header: y\r\n\r\n"])
    (line,) = find_lines(lines, answer.problem["trace_id"])
    assert (line["status"], line["code"]) == (400, "malformed")


async def test_no_token_body_or_query_is_on_a_line(ada: Caller, lines: Lines) -> None:
    answer = await ada.post("/v1/projects?secret=hunter2", {"name": "hunter3"})
    text = str(find_lines(lines, answer.json()["trace_id"]))
    token = answer.request.headers["authorization"].removeprefix("Bearer ")
    assert not [secret for secret in ("hunter2", "hunter3", token) if secret in text]


@pytest.mark.parametrize("path", ["/v1/%0A%7B%22event%22%3A1%7D", "/v1/%1b%5b2J", "/v1/%C2%9B", "/v1/%E2%80%AE"])
async def test_a_path_cannot_forge_a_line_or_control_a_terminal(ada: Caller, path: str, lines: Lines) -> None:
    answer = await ada.client.get(path)
    (line,) = find_lines(lines, answer.json()["trace_id"])
    assert line["path"].isascii()
    assert line["path"].isprintable()


@pytest.mark.parametrize(("sampled", "draw", "count"), [(1.0, 0.99, 1), (0.01, 0.5, 0), (0.0, 0.0, 0)])
def test_successes_are_sampled_and_problems_never(sampled: float, draw: float, count: int, lines: Lines) -> None:
    log = AccessLog(sampled, lambda: draw)
    trace = Trace(new_id().hex, "")
    for status in (200, 404, 503):
        log.record(
            method="GET", raw_path=b"/", operation_id=None, status=status, code=None, trace=trace, caller=None,
            received_at=0.0,
        )  # fmt: skip
    found = find_lines(lines, trace.trace_id)
    assert [line["status"] for line in found] == [200] * count + [404, 503]
    assert found[-1]["log_level"] == "warning"
