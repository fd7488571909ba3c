"""Raw connections: requests as bytes, and everything that the server sends back."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

PATIENCE_SECONDS: Final = 10


class RawResponse(Struct, frozen=True):
    """One response as it was sent."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        """Return its body as a problem document."""
        assert self.headers.get("content-type") == "application/problem+json", self
        found: dict[str, Any] = msgspec.json.decode(self.body)
        assert found["status"] == self.status
        return found


async def exchange(url: str, pieces: Iterable[bytes], *, pause: float = 0.02) -> list[RawResponse]:
    """Send pieces, each as a packet of its own, end the sending side, and return every response.

    `pause` makes the pieces arrive apart: that they do is the point, and no state of the server says that they did.
    """
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(pause)
            return await read_responses(reader)
    finally:
        writer.close()


async def read_responses(reader: asyncio.StreamReader, idle_seconds: float = 0.5) -> list[RawResponse]:
    """Return the responses that arrive until the connection ends or is silent for a while."""
    responses: list[RawResponse] = []
    while True:
        try:
            async with asyncio.timeout(idle_seconds if responses else PATIENCE_SECONDS):
                responses.append(await _read_response(reader))
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
            return responses


async def _read_response(reader: asyncio.StreamReader) -> RawResponse:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    return RawResponse(
        int(head[0].split()[1]), headers, await reader.readexactly(int(headers.get("content-length", "0")))
    )
