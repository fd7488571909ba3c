"""A web server that a workflow calls: it keeps the JSON that it is sent and answers with one status."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec


@dataclass
class Webhook:
    """The requests received so far, and the `url` to call."""

    url: str
    status: str
    sent: list[Any] = field(default_factory=list[Any])

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read one request with a length, and answer it."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length:")[1].split("\r\n")[0])
        self.sent.append(msgspec.json.decode(await reader.readexactly(length)))
        body = b'{"received": true}'
        head_lines = f"HTTP/1.1 {self.status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        writer.write(head_lines.encode() + b"Connection: close\r\n\r\n" + body)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def serve_webhook(status: str = "200 OK") -> AsyncGenerator[Webhook]:
    """Serve on a free port for the length of a block."""
    found = Webhook(url="", status=status)
    server = await asyncio.start_server(found.answer, "127.0.0.1", 0)
    async with server:
        found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hooks/published"
        yield found
