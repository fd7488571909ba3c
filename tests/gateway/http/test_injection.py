"""Injection: nothing that callers send becomes a header, a log line or another path; odd requests get a problem."""

import pytest
from structlog.testing import capture_logs

from tests.support.gateway.given import Caller, Environment, expect_problem, sign_token
from tests.support.servers.raw_http import RawResponse, exchange

INJECTED = "x\r\nSet-Cookie: stolen=1\r\n\r\n<script>"
PATHS = {
    "dots": "/v1/projects/../projects",
    "encoded dots": "/v1/%2e%2e/v1/projects",
    "encoded dots of another case": "/v1/%2E%2E/healthz",
    "a double slash": "//v1/projects",
    "a double slash inside": "/v1//projects",
    "a trailing slash": "/v1/projects/",
    "an encoded slash": "/v1%2Fprojects",
    "an encoded backslash": "/v1%5Cprojects",
    "a trailing slash after a verb": "/v1/workflows/wf_01h455vb4pex5vsknk084sn02q:run/",
    "an encoded line break": "/v1/projects%0D%0ASet-Cookie:%20x",
    "NUL": "/v1/projects%00",
    "a semicolon": "/v1/projects;a=b",
    "another case": "/V1/Projects",
    "another host": "//evil.example.com/v1/projects",
    "half an escape": "/v1/projects%",
    "bytes that are no UTF-8": "/v1/%ff%fe",
    "a very long path": f"/v1/{'x' * 20_000}",
}


async def send_raw(environment: Environment, ada: Caller, line: str, *fields: str) -> RawResponse:
    token = sign_token(ada.workspace_id, ada.user_id)
    lines = [line, "Host: x", "Connection: close", f"Authorization: Bearer {token}", *fields, "", ""]
    (answer,) = await exchange(environment.url, ["\r\n".join(lines).encode()])
    return answer


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
async def test_an_odd_path_is_not_found(environment: Environment, ada: Caller, path: str) -> None:
    with capture_logs() as lines:
        answer = await send_raw(environment, ada, f"GET {path} HTTP/1.1")
    assert (answer.status, answer.problem["code"]) in {(404, "not_found"), (405, "method_not_allowed")}
    assert "set-cookie" not in answer.headers
    (line,) = (line for line in lines if line.get("trace_id") == answer.problem["trace_id"])
    assert line["path"].isprintable()


@pytest.mark.parametrize("method", ["get", "Get", "BREW", "CONNECT", "PROPFIND", "TRACE", "!#$%&'*+-.^_`|~"])
async def test_an_odd_method_is_not_allowed(environment: Environment, ada: Caller, method: str) -> None:
    answer = await send_raw(environment, ada, f"{method} /v1/projects HTTP/1.1")
    assert (answer.status, answer.problem["code"]) == (405, "method_not_allowed")
    assert "GET" in answer.headers["allow"]


async def test_a_query_does_not_become_a_header(ada: Caller) -> None:
    for _ in range(2):
        await ada.project(name="x")
    token = {"authorization": f"Bearer {sign_token(ada.workspace_id)}"}
    answer = await ada.client.get("/v1/projects", params={"name": INJECTED, "limit": 1}, headers=token)
    assert answer.status_code == 200
    refused = await ada.client.get("/v1/projects", params={INJECTED: "1"})
    assert refused.status_code == 401
    page = await ada.get("/v1/projects?limit=1&name=x")
    assert page.headers["link"].count(">") == 1
    for got in (answer, refused, page):
        assert "set-cookie" not in got.headers


@pytest.mark.parametrize(
    "name", ["traceparent", "idempotency-key", "prefer", "origin", "if-match", "accept", "x-request-id"]
)
async def test_odd_bytes_in_a_header_are_refused_or_ignored(environment: Environment, ada: Caller, name: str) -> None:
    token = sign_token(ada.workspace_id, ada.user_id).encode()
    for value in (b"\x80\xff", b'"><script>', b"a\tb", b"%0d%0aSet-Cookie: x"):
        head = b"GET /v1/projects HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer " + token
        (answer,) = await exchange(environment.url, [head + b"\r\n" + name.encode() + b": " + value + b"\r\n\r\n"])
        assert answer.status in {200, 400}
        assert "set-cookie" not in answer.headers
        assert answer.headers["traceparent"].isascii()


async def test_the_detail_of_a_problem_is_bounded_json(ada: Caller) -> None:
    found = expect_problem(await ada.get(f"/v1/projects?{'x' * 5_000}=1"), 400, "malformed")
    assert len(found["detail"]) < 1_000
