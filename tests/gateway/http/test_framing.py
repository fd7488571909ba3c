"""Framing over raw connections: what one reader takes for a body, no other reader may take for a request."""

import asyncio
import shutil

import pytest

from tests.support.gateway.given import TRANSFORM_CHAIN, Caller, Environment, sign_token
from tests.support.servers.raw_http import RawResponse, exchange

BODY = b'{"name": "outer"}'
INNER = b"POST /v1/projects HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"


def write_head(ada: Caller, *lines: bytes, first: bytes = b"POST /v1/projects HTTP/1.1") -> bytes:
    token = sign_token(ada.workspace_id, ada.user_id).encode()
    fields = [first, b"Authorization: Bearer " + token, b"Content-Type: application/json", *lines, b"", b""]
    return b"\r\n".join(fields)


async def list_names(ada: Caller) -> list[str]:
    return [item["name"] for item in (await ada.get("/v1/projects")).json()["items"]]


def has_framing_problem(responses: list[RawResponse]) -> bool:
    """Return whether the only response is a problem after which the connection was closed."""
    (answer,) = responses
    return (answer.status, answer.problem["code"], answer.headers.get("connection")) == (400, "malformed", "close")


@pytest.mark.parametrize("upgrade", [b"h2c", b"websocket", b"TLS/1.0", b"h2c, websocket"])
@pytest.mark.parametrize("is_split", [False, True], ids=["in one packet", "in a later packet"])
async def test_a_body_beside_upgrade_is_read(
    environment: Environment, ada: Caller, upgrade: bytes, *, is_split: bool
) -> None:
    length = b"Content-Length: %d" % len(BODY)
    settings = b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"
    connection = b"Connection: Upgrade, HTTP2-Settings"
    head = write_head(ada, b"Host: x", connection, b"Upgrade: " + upgrade, settings, length)
    follow_up = write_head(ada, b"Host: x", b"Connection: close", first=b"GET /healthz HTTP/1.1")
    pieces = [head, BODY + follow_up] if is_split else [head + BODY + follow_up]
    created, alive = await exchange(environment.url, pieces)
    assert (created.status, alive.status) == (201, 200)
    ada.last.value = int(created.headers["callsheet-position"])
    assert await list_names(ada) == ["outer"]


async def test_a_request_inside_of_a_body_beside_upgrade_is_never_executed(
    environment: Environment, ada: Caller
) -> None:
    inner = write_head(ada, b"Host: x", b"Content-Length: 17") + b'{"name": "inner"}'
    head = write_head(ada, b"Host: x", b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: %d" % len(inner))
    (answer,) = await exchange(environment.url, [head, inner])
    assert answer.problem["code"] == "malformed"
    assert await list_names(ada) == []


async def test_the_inputs_of_a_run_beside_upgrade_are_not_lost(environment: Environment, ada: Caller) -> None:
    workflow = await ada.workflow(TRANSFORM_CHAIN)
    body = b'{"inputs": {"kept": true}}'
    lines = (b"Host: x", b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: %d" % len(body), b"Prefer: wait=20")
    first = f"POST /v1/workflows/{workflow['id']}:run HTTP/1.1".encode()
    (answer,) = await exchange(environment.url, [write_head(ada, *lines, first=first), body])
    assert answer.status == 200
    assert b'"inputs":{"kept":true}' in answer.body


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl_with_http2_creates_a_project(environment: Environment, ada: Caller) -> None:
    token = sign_token(ada.workspace_id, ada.user_id)
    arguments = ["-sS", "--http2", "-H", f"Authorization: Bearer {token}", "-H", "Content-Type: application/json"]
    curl = await asyncio.create_subprocess_exec(
        "curl", *arguments, "-d", BODY.decode(), f"{environment.url}/v1/projects", stdout=asyncio.subprocess.PIPE
    )
    told, _ = await curl.communicate()
    assert b'"name":"outer"' in told


CHUNKED = b"11\r\n" + BODY + b"\r\n0\r\n\r\n"
AMBIGUOUS = {
    "length and coding": (b"Content-Length: 17", b"Transfer-Encoding: chunked"),
    "coding and length": (b"Transfer-Encoding: chunked", b"Content-Length: 17"),
    "coding twice": (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    "coding in a list": (b"Transfer-Encoding: chunked, chunked",),
    "identity": (b"Transfer-Encoding: identity",),
    "another coding": (b"Transfer-Encoding: gzip, chunked",),
    "coding with a parameter": (b"Transfer-Encoding: chunked;q=1",),
    "quoted coding": (b'Transfer-Encoding: "chunked"',),
    "misspelt coding": (b"Transfer-Encoding: xchunked",),
    "coding with a vertical tab": (b"Transfer-Encoding:\x0bchunked",),
    "coding with NUL": (b"Transfer-Encoding: chunked\0",),
    "space before the colon": (b"Transfer-Encoding : chunked",),
    "tab before the colon": (b"Transfer-Encoding\t: chunked",),
    "folded coding": (b"Transfer-Encoding:", b" chunked"),
    "folded after a field": (b"X: y", b" Transfer-Encoding: chunked"),
    "bare LF": (b"X: y\nTransfer-Encoding: chunked",),
    "bare CR": (b"X: y\rTransfer-Encoding: chunked",),
    "field without a name": (b": chunked",),
    "field without a colon": (b"Transfer-Encoding",),
    "length twice": (b"Content-Length: 17", b"Content-Length: 17"),
    "two lengths": (b"Content-Length: 17", b"Content-Length: 0"),
    "length in a list": (b"Content-Length: 17, 17",),
    "signed length": (b"Content-Length: +17",),
    "negative length": (b"Content-Length: -1",),
    "hexadecimal length": (b"Content-Length: 0x11",),
    "length with a space": (b"Content-Length: 1 7",),
    "length with an underscore": (b"Content-Length: 1_7",),
    "empty length": (b"Content-Length: ",),
    "endless length": (b"Content-Length: " + b"9" * 40,),
    "length of other digits": (b"Content-Length: \xd9\xa1\xd9\xa7",),
}


@pytest.mark.parametrize("lines", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
async def test_an_ambiguous_length_is_refused_and_the_connection_closed(
    environment: Environment, ada: Caller, lines: tuple[bytes, ...]
) -> None:
    body = CHUNKED if any(b"hunked" in line for line in lines) else BODY
    sent = write_head(ada, b"Host: x", *lines) + body + INNER
    assert has_framing_problem(await exchange(environment.url, [sent]))


BAD_CHUNKS = {
    "bare LF after the size": b"11\n" + BODY + b"\r\n0\r\n\r\n",
    "bare LF in an extension": b"11;a\n" + BODY + b"\r\n0\r\n\r\n",
    "signed size": b"+11\r\n" + BODY + b"\r\n0\r\n\r\n",
    "prefixed size": b"0x11\r\n" + BODY + b"\r\n0\r\n\r\n",
    "endless size": b"f" * 40 + b"\r\n" + BODY,
    "endless line": b"1;" + b"a" * 500 + b"\r\n",
    "size too small": b"10\r\n" + BODY + b"\r\n0\r\n\r\n",
    "size too large": b"12\r\n" + BODY + b"\r\n0\r\n\r\n",
    "no size": b"\r\n" + BODY + b"\r\n0\r\n\r\n",
    "bad trailer": b"11\r\n" + BODY + b"\r\n0\r\nX : y\r\n\r\n",
}


@pytest.mark.parametrize("chunks", BAD_CHUNKS.values(), ids=BAD_CHUNKS.keys())
async def test_malformed_chunks_are_refused_and_the_connection_closed(
    environment: Environment, ada: Caller, chunks: bytes
) -> None:
    sent = write_head(ada, b"Host: x", b"Transfer-Encoding: chunked") + chunks + INNER
    assert has_framing_problem(await exchange(environment.url, [sent]))
    assert await list_names(ada) == []


async def test_chunks_with_extensions_and_trailers_are_read_in_any_pieces(
    environment: Environment, ada: Caller
) -> None:
    chunks = b'5;a="b"\r\n' + BODY[:5] + b"\r\nC\r\n" + BODY[5:] + b"\r\n0;last\r\nContent-Length: 3\r\n\r\n"
    sent = write_head(ada, b"Host: x", b"Connection: close", b"Transfer-Encoding: Chunked") + chunks
    pieces = [sent[index : index + 1] for index in range(len(sent))]
    for case in ([sent], pieces):
        (answer,) = await exchange(environment.url, case, pause=0.0005)
        assert answer.status == 201, answer


HOSTS = {
    "missing": ((), 400),
    "twice": ((b"Host: x", b"Host: x"), 400),
    "two": ((b"Host: x", b"Host: y"), 400),
    "with a path": ((b"Host: x/y",), 400),
    "with a user": ((b"Host: u@x",), 400),
    "empty": ((b"Host:",), 200),
    "with a port": ((b"Host: x:80",), 200),
}


@pytest.mark.parametrize(("lines", "status"), HOSTS.values(), ids=HOSTS.keys())
async def test_host_is_sent_once_and_is_a_host(
    environment: Environment, ada: Caller, lines: tuple[bytes, ...], status: int
) -> None:
    sent = write_head(ada, b"Connection: close", *lines, first=b"GET /v1/projects HTTP/1.1")
    (answer,) = await exchange(environment.url, [sent])
    assert answer.status == status, answer


async def test_http_1_0_is_answered_without_chunks_and_closed(environment: Environment, ada: Caller) -> None:
    head = write_head(ada, b"Content-Length: %d" % len(BODY), first=b"POST /v1/projects HTTP/1.0")
    (answer,) = await exchange(environment.url, [head + BODY])
    assert (answer.status, answer.headers["connection"]) == (201, "close")
    run = await ada.ended_run(TRANSFORM_CHAIN, {})
    accept = b"Accept: text/event-stream"
    first = f"GET /v1/runs/{run['id']}/events HTTP/1.0".encode()
    (stream,) = await exchange(environment.url, [write_head(ada, accept, first=first)])
    assert stream.status == 200
    assert "transfer-encoding" not in stream.headers


TARGETS = {
    "double slash": (b"GET //v1/projects HTTP/1.1", 404),
    "double slash inside": (b"GET /v1//projects HTTP/1.1", 404),
    "trailing slash": (b"GET /v1/projects/ HTTP/1.1", 404),
    "encoded slash": (b"GET /v1%2Fprojects HTTP/1.1", 404),
    "dot": (b"GET /v1/./projects HTTP/1.1", 404),
    "encoded dot": (b"GET /v1/%2e/projects HTTP/1.1", 404),
    "encoded dots": (b"GET /healthz/%2e%2e/v1/projects HTTP/1.1", 404),
    "backslash": (b"GET /v1\\projects HTTP/1.1", 404),
    "encoded NUL": (b"GET /v1/projects%00 HTTP/1.1", 404),
    "encoded line end": (b"GET /v1/projects%0d%0aX:y HTTP/1.1", 404),
    "no UTF-8": (b"GET /v1/projects/%ff HTTP/1.1", 404),
    "no escape": (b"GET /v1/projects/%zz HTTP/1.1", 404),
    "verb in lower case": (b"get /v1/projects HTTP/1.1", 405),
    "verb in mixed case": (b"GeT /v1/projects HTTP/1.1", 405),
    "verb with a space": (b" GET /v1/projects HTTP/1.1", 400),
    "two spaces": (b"GET  /v1/projects HTTP/1.1", 400),
    "fragment": (b"GET /v1/projects#x HTTP/1.1", 400),
    "no slash": (b"GET v1/projects HTTP/1.1", 400),
    "CONNECT": (b"CONNECT x:443 HTTP/1.1", 400),
    "HTTP/2": (b"PRI * HTTP/2.0", 400),
    "HTTP/0.9": (b"GET /v1/projects", 400),
    "HTTP/1.2": (b"GET /v1/projects HTTP/1.2", 400),
    "another protocol": (b"GET /v1/projects ICE/1.0", 400),
    "not ASCII": ("GET /v1/projects/ä HTTP/1.1".encode(), 400),
    "absolute": (b"GET http://x/v1/projects HTTP/1.1", 200),
    "encoded letter": (b"GET /v1/%70rojects HTTP/1.1", 200),
}


@pytest.mark.parametrize(("first", "status"), TARGETS.values(), ids=TARGETS.keys())
async def test_targets_are_matched_exactly(environment: Environment, ada: Caller, first: bytes, status: int) -> None:
    sent = write_head(ada, b"Host: x", b"Connection: close", first=first)
    (answer,) = await exchange(environment.url, [sent])
    assert answer.status == status, answer
    assert status == 200 or answer.problem["trace_id"]


async def test_a_verb_may_be_encoded_and_must_have_its_case(environment: Environment, ada: Caller) -> None:
    workflow = await ada.workflow(TRANSFORM_CHAIN)
    expected = {"%3Arun": 202, "%3arun": 202, ":run": 202, ":RUN": 404, "/:run": 404, ":run/": 404, "%3Arun%2F": 404}
    for verb, status in expected.items():
        first = f"POST /v1/workflows/{workflow['id']}{verb} HTTP/1.1".encode()
        (answer,) = await exchange(environment.url, [write_head(ada, b"Host: x", b"Connection: close", first=first)])
        assert answer.status == status, (verb, answer)


async def test_too_many_header_lines_are_refused(environment: Environment, ada: Caller) -> None:
    many = [b"X-%d: y" % number for number in range(200)]
    sent = write_head(ada, b"Host: x", *many, first=b"GET /v1/projects HTTP/1.1")
    (answer,) = await exchange(environment.url, [sent])
    assert (answer.status, answer.problem["code"]) == (431, "head_too_large")


async def test_what_a_caller_sends_never_becomes_a_header_line_of_a_response(
    environment: Environment, ada: Caller
) -> None:
    injections = (b"traceparent: 00-%0d%0aX-Injected: y", b"Origin: http://x%0d%0aX-Injected: y", b"Prefer: wait=1\x0b")
    for line in injections:
        sent = write_head(ada, b"Host: x", b"Connection: close", line, first=b"GET /v1/projects?a%0d%0aX:y HTTP/1.1")
        (answer,) = await exchange(environment.url, [sent])
        assert "x-injected" not in answer.headers
        assert answer.status == 400


async def test_a_request_before_a_malformed_one_is_still_answered(environment: Environment, ada: Caller) -> None:
    first = write_head(ada, b"Host: x", first=b"GET /v1/projects HTTP/1.1")
    (answer,) = await exchange(environment.url, [first + b"GET / HTTP/9\r\n\r\n" + INNER])
    assert answer.status == 200


async def test_callers_who_never_finish_cut_nobody_else_off(environment: Environment, ada: Caller) -> None:
    port = int(environment.url.rpartition(":")[2])
    waiting = [await asyncio.open_connection("127.0.0.1", port) for _ in range(100)]
    for number, (_, writer) in enumerate(waiting):
        writer.write(
            b"POST /v1/projects HTTP/1.1\r\nHost: x\r\n" + (b"Content-Length: 9\r\n\r\n1" if number % 2 else b"X")
        )
    try:
        assert (await ada.get("/v1/projects")).status_code == 200
    finally:
        for _, writer in waiting:
            writer.close()
