"""The load client of the benches against a server of its own: what it counts, and what it refuses to count."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from bench.runs.client import ClientLoad, ClientReport, content_length, drive

COMPLETED = b'{"id":"run_1","status":"completed","steps":{}}'
FAILED = b'{"id":"run_1","status":"failed","steps":{"last":{"status":"completed"}}}'
REQUEST = "POST /v1/workflows/wf_1:run HTTP/1.1\r\nContent-Length: 0\r\n\r\n"


def answer(body: bytes, *, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


@asynccontextmanager
async def answering(pieces: Sequence[bytes]) -> AsyncGenerator[int]:
    """A server that gives every request the same answer, in these pieces."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def drive_client(pieces: Sequence[bytes]) -> ClientReport:
    async with answering(pieces) as port:
        return await drive(
            ClientLoad(host="127.0.0.1", port=port, request=REQUEST, in_flight=4, warm_up_seconds=0.05, seconds=0.1)
        )


async def test_an_answer_that_comes_in_pieces_is_counted_once() -> None:
    whole = answer(COMPLETED)
    report = await drive_client([whole[:10], whole[10:50], whole[50:]])
    assert report.failed == 0
    assert 0 < report.figures.per_second * 0.1 <= report.completed


async def test_a_run_that_did_not_complete_is_a_failure_even_when_its_last_step_did() -> None:
    report = await drive_client([answer(FAILED)])
    assert report.completed == 0
    assert report.failed > 0
    assert '"status":"failed"' in report.failures[0]


async def test_a_run_that_was_only_accepted_is_a_failure() -> None:
    report = await drive_client([answer(COMPLETED, status=b"202 Accepted")])
    assert (report.completed, report.failures[0][:12]) == (0, "HTTP/1.1 202")


def test_a_head_without_a_length_has_no_body() -> None:
    assert content_length(b"HTTP/1.1 204 No Content\r\nserver: x") == 0
    assert content_length(b"HTTP/1.1 200 OK\r\nCONTENT-LENGTH: 12\r\nserver: x") == 12
