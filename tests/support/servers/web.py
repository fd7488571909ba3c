"""A real HTTP server for `http` steps, on a free port of 127.0.0.1, told by path how to answer, with a ledger."""

import asyncio
import gzip
import threading
from dataclasses import dataclass, field
from typing import Final, Self

import msgspec

JSON: Final = "Content-Type: application/json\r\n"
BOMB: Final = gzip.compress(b"0" * 2_000_000)
STATUSES: Final = (400, 401, 403, 404, 408, 409, 429, 500, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


ODD_JSON = b'\xef\xbb\xbf{"a\\u0000": ["x\\u0000y", "\\ud83d\\ude00", "\\ud800"]}'
"""A byte order mark, NUL characters, a pair of surrogates, and half of one."""


def _answer(status: int, headers: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status} Said\r\n{headers}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode("latin-1") + body


def _echo(heard: ReceivedRequest) -> bytes:
    told = {"method": heard.method, "path": heard.path, "headers": heard.headers, "body": heard.body.decode()}
    return msgspec.json.encode(told)


CANNED: Final = {
    "/redirect": _answer(302, "Location: http://169.254.169.254/latest\r\n", b"elsewhere"),
    "/text": _answer(200, "Content-Type: text/plain; charset=iso-8859-1\r\n", "käse".encode("latin-1")),
    "/odd-json": _answer(200, "Content-Type: application/json\r\n", ODD_JSON),
    "/binary": _answer(200, "Content-Type: image/png\r\n", b"\x89PNG\r\n\x1a\n\x00\xff"),
    "/broken-json": _answer(200, JSON, b'{"half": '),
    "/gzip": _answer(200, f"{JSON}Content-Encoding: gzip\r\n", gzip.compress(b'{"packed": true}')),
    "/bomb": _answer(200, f"{JSON}Content-Encoding: gzip\r\n", BOMB),
    "/half-gzip": _answer(200, "Content-Encoding: gzip\r\n", BOMB[:-9]),
    "/brotli": _answer(200, "Content-Encoding: br\r\n", b"?"),
    "/many-headers": _answer(200, "".join(f"X-{n}: {n}\r\n" for n in range(200)), b""),
    "/cookies": _answer(200, "Set-Cookie: a=1\r\nX-Two: 1\r\nX-Two: 2\r\n", b""),
    "/nothing": b"HTTP/1.1 204 Said\r\nConnection: close\r\n\r\n",
}


def create_response(heard: ReceivedRequest) -> bytes:
    """Answer by path: `/status/<n>` and `/redirect/<n>` so, some as their name says, others with the request itself."""
    path = heard.path.partition("?")[0]
    if path.startswith("/status/"):
        said = b"you said " + heard.headers.get("x-token", "").encode()
        return _answer(int(path.removeprefix("/status/")), "Retry-After: 7\r\n", said)
    if path.startswith("/redirect/"):  # to wherever the query says
        to = heard.path.partition("?")[2]
        return _answer(int(path.removeprefix("/redirect/")), f"Location: {to}\r\n", f"go to {to}".encode())
    kind = "Content-Type: text/plain\r\n" if path == "/echo-text" else JSON
    return CANNED.get(path) or _answer(200, kind, _echo(heard))


@dataclass
class WebServer:
    """`with WebServer() as server`: then `server.port`, `server.url(path)` and `server.heard`."""

    heard: list[ReceivedRequest] = field(default_factory=list[ReceivedRequest])
    port: int = 0
    connections: int = 0
    _ready: threading.Event = field(default_factory=threading.Event)
    _stop: asyncio.Event | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _thread: threading.Thread | None = None

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="web-server")
        self._thread.start()
        if not self._ready.wait(30):
            raise TimeoutError("the web server did not start")
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None and self._stop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(30)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            heard = await _read_request(reader)
            self.heard.append(heard)
            await self._say(heard, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _say(self, heard: ReceivedRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        match heard.path.partition("?")[0]:
            case "/hang-up":
                writer.transport.abort()
            case "/slow":  # the head and a little, and then nothing until the caller goes
                writer.write(b"HTTP/1.1 200 Said\r\nContent-Length: 1000\r\n\r\na little")
                await reader.read()
            case "/endless":  # no length is told, and there is no end
                writer.write(b"HTTP/1.1 200 Said\r\nConnection: close\r\n\r\n")
                while not writer.is_closing():
                    writer.write(b"more and more " * 1_000)
                    await writer.drain()
            case _:
                writer.write(create_response(heard))
                await writer.drain()


async def _read_request(reader: asyncio.StreamReader) -> ReceivedRequest:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return ReceivedRequest(method, path, headers, body)
