"""Requests over raw connections: heads that are too large, timeouts, and malformed HTTP."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import uvicorn

from callsheet.server.bounded_http import BoundedHttp
from callsheet.server.serve import Server, listen

ANSWERED = b"HTTP/1.1 204 No Content\r\n"
PIECE = 16 * 1024


class Hasty(BoundedHttp):
    """A protocol with short timeouts."""

    request_seconds_max = 0.2


async def app(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401  # ASGI
    """Answer with nothing once the body is read; at `/slow` after longer than a request may take to arrive."""
    while (await receive()).get("more_body", False):
        pass
    if scope["path"] == "/slow":
        await asyncio.sleep(3 * Hasty.request_seconds_max)
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def connection(http: type[BoundedHttp]) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a server of the test's own."""
    listening = listen("127.0.0.1", 0)
    server = Server(uvicorn.Config(app, http=http, lifespan="off", log_config=None, access_log=False, ws="none"))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    reader, writer = await asyncio.open_connection(*listening.getsockname()[:2])
    try:
        async with asyncio.timeout(10):
            yield reader, writer
    finally:
        writer.close()
        server.should_exit = True
        await serving


def read_problem(answer: bytes) -> dict[str, Any]:
    """Return the problem document of a response that closes its connection."""
    head, body = answer.split(b"\r\n\r\n", 1)
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    return msgspec.json.decode(body)


@pytest.mark.parametrize("begun", [b"GET /", b"GET / HTTP/1.1\r\nX-Endless: ", b"GET / HTTP/1.1\r\n"])
async def test_a_head_without_an_end_is_refused_at_its_bound(begun: bytes) -> None:
    async with connection(BoundedHttp) as (reader, writer):
        writer.write(begun)
        sent = 0
        answer = asyncio.create_task(reader.read())
        while not answer.done() and sent < 4 * BoundedHttp.head_bytes_max:
            writer.write((b"a: b\r\n" * PIECE)[:PIECE] if begun.endswith(b"\r\n") else b"a" * PIECE)
            await asyncio.sleep(0.01)  # so that each piece arrives as one
            sent += PIECE
        assert sent < 4 * BoundedHttp.head_bytes_max
        assert read_problem(await answer)["code"] == "head_too_large"


async def test_a_large_body_does_not_count_as_head() -> None:
    async with connection(BoundedHttp) as (reader, writer):
        size = 4 * BoundedHttp.head_bytes_max
        for _ in range(2):
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
            assert await reader.readuntil(b"\r\n") == ANSWERED
            await reader.readuntil(b"\r\n\r\n")


@pytest.mark.parametrize(
    "begun",
    [
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: x\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n123",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
    ],
)
async def test_a_request_that_does_not_arrive_whole_in_time_is_refused(begun: bytes) -> None:
    async with connection(Hasty) as (reader, writer):
        writer.write(begun)
        assert read_problem(await reader.read())["code"] == "request_too_slow"


@pytest.mark.parametrize(
    ("before", "sent"), [(b"", b""), (b"", b"\r\n"), (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\r\n")]
)
async def test_a_connection_that_begins_nothing_is_closed(before: bytes, sent: bytes) -> None:
    async with connection(Hasty) as (reader, writer):
        writer.write(before)
        if before:
            await reader.readuntil(b"\r\n\r\n")
        writer.write(sent)
        async with asyncio.timeout(4):  # uvicorn itself ends what is idle after 5 s
            assert not await reader.read()


@pytest.mark.parametrize("next_one", [b"", b"GET / HT", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n123"])
async def test_a_slow_answer_is_not_taken_for_a_slow_request(next_one: bytes) -> None:
    async with connection(Hasty) as (reader, writer):
        writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n" + next_one)
        assert await reader.readuntil(b"\r\n") == ANSWERED


async def test_what_is_no_http_is_told_as_a_problem() -> None:
    async with connection(BoundedHttp) as (reader, writer):
        writer.write(b"\0\1\2\r\n\r\n")
        assert read_problem(await reader.read())["code"] == "malformed"
