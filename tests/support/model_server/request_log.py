"""The HTTP/1.1 of the model server, by hand: a server that misbehaves on purpose needs its bytes for itself."""

import asyncio
from collections.abc import Mapping

import msgspec
from msgspec import Struct

LINE_BYTES_MAX = 64 * 1024


class Request(Struct, frozen=True, kw_only=True):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """The next request of a connection; None at its end."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.rstrip("\r\n").split("\r\n")
    method, path, _ = first.split(" ")
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    return Request(
        method=method,
        path=path,
        headers=headers,
        body=await reader.readexactly(int(headers.get("content-length", "0"))),
    )


class Reply:
    """The answer to one request, in as many pieces as the behaviour likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Create it over both ends of the connection."""
        self._reader = reader
        self._writer = writer

    async def send(self, raw: bytes) -> None:
        """Send bytes as they are."""
        self._writer.write(raw)
        await self._writer.drain()

    async def json(self, status: int, value: object, headers: Mapping[str, str] | None = None) -> None:
        """Answer with JSON, whole."""
        await self.whole(status, "application/json", msgspec.json.encode(value), headers)

    async def whole(self, status: int, kind: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Answer with a body of known length."""
        lines = {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}
        await self.send(_head(status, lines) + body)

    async def open_stream(self, headers: Mapping[str, str] | None = None) -> None:
        """Begin an event stream in chunks."""
        lines = {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked", **(headers or {})}
        await self.send(_head(200, lines))

    async def piece(self, raw: bytes) -> None:
        """Send one chunk of the stream."""
        await self.send(b"%x\r\n%b\r\n" % (len(raw), raw))

    async def event(self, value: object) -> None:
        """Send one event with JSON as its data."""
        await self.piece(b"data: " + msgspec.json.encode(value) + b"\n\n")

    async def end_stream(self) -> None:
        """End the stream as a whole one."""
        await self.send(b"0\r\n\r\n")

    def break_connection(self) -> None:
        """Break the connection, in the middle of whatever is being sent."""
        self._writer.transport.abort()

    async def wait_for_hang_up(self, seconds: float | None = None) -> bool:
        """Wait until the client has disconnected, up to a timeout; return whether it has."""
        try:
            return await asyncio.wait_for(self._reader.read(1), seconds) == b""
        except TimeoutError:
            return False


def _head(status: int, lines: Mapping[str, str]) -> bytes:
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} As told\r\n{text}\r\n".encode("latin-1")
