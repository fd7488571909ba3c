"""Servers that flood without a response: the call ends, and the event loop is not blocked."""

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from typing import cast

import httpcore2
import httpx2
import pytest

from domain.graphs.graph import ErrorClass
from engine.egress.guard import GuardedTransport
from engine.egress.stream import ANSWER_BYTES_MAX, BARREN_BYTES_MAX, PIECE_LINES_MAX, OutgoingStream
from engine.providers.provider import ModelRequest, ProviderFault
from engine.settings import OutgoingSettings
from engine.steps.http.step import HttpSteps
from tests.engine.providers.conftest import LOCAL, speaking
from tests.engine.steps.http.test_step import call_step, expect_failure
from tests.support.engine.workers import open_evaluator

PATIENCE_SECONDS = 20
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
FLOODS = {
    "100 Continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "103 Early Hints": (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"a:b\r\n"),
    "headers that end": (b"HTTP/1.1 200 OK\r\n" + b"a:b\r\n" * 9_000 + b"\r\n", b""),
    "one header": (b"HTTP/1.1 200 OK\r\na:", b"b" * 1_000),
    "trailers": (STREAM + b"1\r\n\n\r\n0\r\n", b"a:b\r\n"),
    "a chunk's extension": (STREAM, b"1;" + b"x" * 1_000),
}


def chunk(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


class Flooder:
    """Answers each connection with some bytes and then others for ever, or until the caller has gone."""

    def __init__(self, first: bytes, then: bytes) -> None:
        """Listen; `accept` serves."""
        self.first, self.then = first, then * (65_536 // len(then) + 1) if then else b""
        self.connections = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._flood, args=(connection,)).start()

    def _flood(self, connection: socket.socket) -> None:
        with connection:
            try:
                while connection.recv(65_536):
                    connection.sendall(self.first)
                    while self.then:
                        connection.sendall(self.then)
            except OSError:
                pass  # the caller has gone


@contextmanager
def flooder(first: bytes, then: bytes = b"") -> Generator[Flooder]:
    made = Flooder(first, then)
    accepting = threading.Thread(target=made.accept)
    accepting.start()
    try:
        yield made
    finally:
        made.close()
        accepting.join(10)


@pytest.fixture
def floods() -> Generator[Callable[..., Flooder]]:
    """Return a server that floods."""
    with ExitStack() as stack:

        def flooding(first: bytes, then: bytes = b"") -> Flooder:
            return stack.enter_context(flooder(first, then))

        yield flooding


@pytest.fixture
async def steps() -> AsyncGenerator[HttpSteps]:
    async with open_evaluator() as slow:
        steps = HttpSteps(LOCAL, {}, OutgoingSettings(timeout_seconds=PATIENCE_SECONDS), slow)
        yield steps
        await steps.close()


async def fault_of_model(url: str, protocol: str) -> ProviderFault:
    provider = speaking(protocol, url)
    asked = ModelRequest(model="m", prompt="Hi", idempotency_token="t", timeout_seconds=PATIENCE_SECONDS)  # noqa: S106  # a token that repeats, no secret
    try:
        with pytest.raises(ProviderFault) as caught:
            await provider.complete(asked, lambda _text: None)
    finally:
        await provider.close()
    return caught.value


@pytest.mark.parametrize("flood", FLOODS)
async def test_an_http_step_leaves_a_server_that_sends_no_answer_without_end(
    floods: Callable[..., Flooder], steps: HttpSteps, flood: str
) -> None:
    failed = await expect_failure(steps, floods(*FLOODS[flood]).url)
    assert failed.error.error_class is ErrorClass.UNAVAILABLE, failed.error.message


@pytest.mark.parametrize("protocol", ["openai", "anthropic"])
@pytest.mark.parametrize("flood", FLOODS)
async def test_a_model_server_that_sends_no_answer_without_end_is_unavailable(
    floods: Callable[..., Flooder], flood: str, protocol: str
) -> None:
    fault = await fault_of_model(floods(*FLOODS[flood]).url, protocol)
    assert fault.error_class is ErrorClass.UNAVAILABLE, fault.message


@pytest.mark.parametrize("protocol", ["openai", "anthropic"])
async def test_comments_without_end_are_no_answer_of_a_model(floods: Callable[..., Flooder], protocol: str) -> None:
    fault = await fault_of_model(floods(STREAM, chunk(b":" + b"x" * 16_000 + b"\n")).url, protocol)
    assert fault.error_class is ErrorClass.UNAVAILABLE, fault.message


async def test_answers_before_the_answer_are_bounded_in_bytes_too(
    floods: Callable[..., Flooder], steps: HttpSteps
) -> None:
    hint = b"HTTP/1.1 103 Early Hints\r\nLink: " + b"x" * 8_000 + b"\r\n\r\n"
    failed = await expect_failure(steps, floods(hint * (BARREN_BYTES_MAX // 8_000 + 1) + JSON).url)
    assert failed.error.error_class is ErrorClass.UNAVAILABLE, failed.error.message


@pytest.mark.parametrize("before", [0, 1, 300])
async def test_a_few_answers_before_the_answer_are_none(
    floods: Callable[..., Flooder], steps: HttpSteps, before: int
) -> None:
    hints = b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    server = floods(hints * before + JSON)
    for _ in range(2):
        assert (await call_step(steps, server.url))["body"] == {}
    assert server.connections == 1


async def test_an_answer_in_small_parts_is_read_with_breaks_for_others(floods: Callable[..., Flooder]) -> None:
    server = floods(STREAM + chunk(b".") * 50_000 + b"0\r\n\r\n")
    parts, most_at_once = 0, 0

    async def look_on() -> None:
        nonlocal most_at_once
        seen = 0
        while True:
            most_at_once, seen = max(most_at_once, parts - seen), parts
            await asyncio.sleep(0)

    looking_on = asyncio.create_task(look_on())
    async with GuardedTransport(LOCAL) as transport:
        response = await transport.handle_async_request(httpx2.Request("GET", server.url))
        async for _ in response.aiter_raw():
            parts += 1
        await response.aclose()
    looking_on.cancel()
    assert parts == 50_000
    assert most_at_once <= PIECE_LINES_MAX


async def test_large_answers_are_whole_and_counted_one_by_one(floods: Callable[..., Flooder], steps: HttpSteps) -> None:
    line = "x" * 9_000_000
    server = floods(JSON.replace(b"2\r\n\r\n{}", b'%d\r\n\r\n"%b"' % (len(line) + 2, line.encode())))
    for _ in range(ANSWER_BYTES_MAX // len(line) + 1):
        assert (await call_step(steps, server.url, most_response_bytes=10_000_000))["body"] == line
    assert server.connections == 1


async def test_an_answer_may_have_many_lines(floods: Callable[..., Flooder], steps: HttpSteps) -> None:
    body = b"[\n" + b'"x",\n' * 100_000 + b'"x"\n]'
    server = floods(JSON.replace(b"2\r\n\r\n{}", b"%d\r\n\r\n%b" % (len(body), body)))
    assert (await call_step(steps, server.url))["body"] == ["x"] * 100_001


@pytest.mark.parametrize("more", [b"\r\n", b"more", JSON, b"HTTP/1.1 100 Continue\r\n\r\n"])
@pytest.mark.parametrize(
    "first", [JSON, STREAM.replace(b"text/event-stream", b"application/json") + chunk(b"{}") + b"0\r\n\r\n"]
)
async def test_what_came_with_an_answer_is_not_the_next_one(
    floods: Callable[..., Flooder], steps: HttpSteps, first: bytes, more: bytes
) -> None:
    server = floods(first + more.replace(b"{}", b"[]"))
    for _ in range(2):
        assert (await call_step(steps, server.url))["body"] == {}
    assert server.connections == 2


async def test_what_nobody_asked_for_ends_the_connection(floods: Callable[..., Flooder], steps: HttpSteps) -> None:
    server = floods(JSON + b"more\r\n" * 1_000)
    for _ in range(2):
        assert (await call_step(steps, server.url))["body"] == {}
    assert server.connections == 2


def nameless_tls(*, server: bool) -> ssl.SSLContext:
    """TLS without certificates: what is read of it matters here, and not from whom."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AECDH-AES256-SHA:@SECLEVEL=0")
    return context


async def test_what_comes_through_tls_is_read_in_pieces_too() -> None:
    async def flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 5_000)
        with suppress(ConnectionError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(flood, "127.0.0.1", 0, ssl=nameless_tls(server=True))
    async with server:
        host, port = server.sockets[0].getsockname()[:2]
        connection = await cast("httpcore2.AsyncNetworkBackend", httpcore2.AnyIOBackend()).connect_tcp(host, port)
        stream = await OutgoingStream(connection).start_tls(nameless_tls(server=False), "a", 10)
        pieces: list[bytes] = []

        async def read_on() -> None:
            while piece := await stream.read(65_536, 10):
                pieces.append(piece)

        with pytest.raises(httpcore2.RemoteProtocolError):
            await read_on()
        await stream.aclose()
    assert max(piece.count(b"\n") for piece in pieces) == PIECE_LINES_MAX
