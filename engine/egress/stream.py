"""The connections of outgoing calls, read so that no server holds the event loop: in small pieces, and not for ever.

HTTP lets a server answer `100 Continue` again and again before it answers, and send headers, trailers and the lines
between chunks at will. Each is a line or two. Read 64 KB at a time they are ten thousand, and to parse them in one go
held everybody else for a third of a second, again and again until the call's time was over.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Final

import h11
import httpcore2
import httpx2

PIECE_BYTES_MAX: Final = 16 * 1024
PIECE_LINES_MAX: Final = 256
"""What is parsed without a break: a few milliseconds at the worst."""
BARREN_LINES_MAX: Final = 2_000
BARREN_BYTES_MAX: Final = 256 * 1024
"""What may come while nothing comes of it: answers before the answer, its head, trailers. Proper ones are far below."""
ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
"""One answer with all that HTTP puts around it, above the bounds of bodies: those count neither chunks nor comments."""


class OutgoingStream(httpcore2.AsyncNetworkStream):
    """One connection. Fails as a server that does not speak the protocol where it sends too much of nothing."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        """Take the connection as the library opened it."""
        self._stream = stream
        self._came = b""
        self._taken = 0
        self._barren_lines = 0
        self._barren_bytes = 0
        self._answer_bytes = 0

    def bore(self) -> None:
        """Hear that something came of what was read: an answer's head, or a part of its body."""
        self._barren_lines = self._barren_bytes = 0

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  # httpcore2's
        """Read a piece. Raises RemoteProtocolError beyond the bounds, and what the library raises."""
        if self._taken < len(self._came):
            await asyncio.sleep(0)  # pieces that came together would be read without a break
        else:
            self._came, self._taken = await self._stream.read(max_bytes, timeout), 0
        end, lines = _end_of_piece(self._came, self._taken, min(max_bytes, PIECE_BYTES_MAX))
        piece = self._came[self._taken : end]
        self._taken = end
        self._count(len(piece), lines)
        return piece

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109  # httpcore2's
        """Write a part of a request: what comes next is an answer of its own."""
        self.bore()
        self._answer_bytes = 0
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  # the interface of httpcore2
    ) -> "OutgoingStream":
        """Go on with TLS, read alike."""
        return OutgoingStream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401  # the interface of httpcore2
        """Tell of the connection. One at rest that can be read is not used again: nobody asked for what is there."""
        if info == "is_readable" and self._taken < len(self._came):
            return True
        return self._stream.get_extra_info(info)

    def _count(self, size: int, lines: int) -> None:
        self._barren_lines += lines
        self._barren_bytes += size
        self._answer_bytes += size
        if self._barren_lines > BARREN_LINES_MAX or self._barren_bytes > BARREN_BYTES_MAX:
            raise httpcore2.RemoteProtocolError("the server sends without end what is no part of an answer")
        if self._answer_bytes > ANSWER_BYTES_MAX:
            raise httpcore2.RemoteProtocolError("the server's answer is beyond all bounds")


class OutgoingConnection(httpcore2.AsyncHTTPConnection):
    """A connection of the pool that is not used again once bytes came behind an answer.

    They would be read as the next answer: whoever called the same host next got what nobody had asked for, or failed.
    """

    def has_expired(self) -> bool:
        """Return whether it may not be used again."""
        return super().has_expired() or self._holds_more()

    def _holds_more(self) -> bool:
        spoken = getattr(self._connection, "_h11_state", None)  # the library has no other way to ask
        return isinstance(spoken, h11.Connection) and self.is_idle() and bool(spoken.trailing_data[0])


class OutgoingBody(httpx2.AsyncByteStream):
    """The body of an answer, which tells its connection of each part that comes."""

    def __init__(self, body: httpx2.AsyncByteStream, stream: OutgoingStream) -> None:
        """Take the body, and the connection that it comes from."""
        self._body = body
        self._stream = stream
        stream.bore()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        parts = aiter(self._body)
        try:
            async for part in parts:
                self._stream.bore()
                yield part
        finally:
            if isinstance(parts, AsyncGenerator):
                await parts.aclose()

    async def aclose(self) -> None:
        """Let go of the connection."""
        await self._body.aclose()


def _end_of_piece(data: bytes, start: int, most_bytes: int) -> tuple[int, int]:
    """Tell where a piece ends, and how many lines end in it."""
    farthest = min(start + most_bytes, len(data))
    end = start
    for lines in range(PIECE_LINES_MAX):
        found = data.find(b"\n", end, farthest)
        if found < 0:
            return farthest, lines
        end = found + 1
    return end, PIECE_LINES_MAX
