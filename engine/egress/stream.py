"""Network streams of outgoing calls, read in small pieces and within limits, so that no server blocks the event loop.

A server may send `100 Continue`, headers, trailers and chunk sizes without end, each a line or two. A read of 64 KB
contains ten thousand of them, and parsing those at once blocked the loop for a third of a second, again and again until
the call's timeout.
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
"""How much is parsed before other tasks run: a few milliseconds at worst."""
BARREN_LINES_MAX: Final = 2_000
BARREN_BYTES_MAX: Final = 256 * 1024
"""Limits of data without progress: informational responses, headers, trailers. Real servers stay far below."""
ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
"""Limit of one response with framing; limits of bodies count neither chunk sizes nor event-stream comments."""


class OutgoingStream(httpcore2.AsyncNetworkStream):
    """A network stream that raises RemoteProtocolError when a server sends too much without progress."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        """Wrap a stream that the library has opened."""
        self._stream = stream
        self._buffer = b""
        self._consumed = 0
        self._barren_lines = 0
        self._barren_bytes = 0
        self._answer_bytes = 0

    def record_progress(self) -> None:
        """Reset the limits of data without progress: a response's head or a part of its body has arrived."""
        self._barren_lines = self._barren_bytes = 0

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  # httpcore2's
        """Read a piece. Raises RemoteProtocolError beyond the limits, and what the library raises."""
        if self._consumed < len(self._buffer):
            await asyncio.sleep(0)  # otherwise buffered pieces would be read without yielding to other tasks
        else:
            self._buffer, self._consumed = await self._stream.read(max_bytes, timeout), 0
        end, lines = _find_piece_end(self._buffer, self._consumed, min(max_bytes, PIECE_BYTES_MAX))
        piece = self._buffer[self._consumed : end]
        self._consumed = end
        self._count(len(piece), lines)
        return piece

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109  # httpcore2's
        """Write a part of a request; the next response is counted from zero."""
        self.record_progress()
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
        """Start TLS, and return the encrypted stream with the same limits."""
        return OutgoingStream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401  # the interface of httpcore2
        """Return information about the connection; it is readable if bytes are buffered, so that the pool drops it."""
        if info == "is_readable" and self._consumed < len(self._buffer):
            return True
        return self._stream.get_extra_info(info)

    def _count(self, size: int, lines: int) -> None:
        self._barren_lines += lines
        self._barren_bytes += size
        self._answer_bytes += size
        if self._barren_lines > BARREN_LINES_MAX or self._barren_bytes > BARREN_BYTES_MAX:
            raise httpcore2.RemoteProtocolError("The server sends too much data without a response")
        if self._answer_bytes > ANSWER_BYTES_MAX:
            raise httpcore2.RemoteProtocolError("The response of the server is too large")


class OutgoingConnection(httpcore2.AsyncHTTPConnection):
    """A pooled connection that is not reused if bytes followed a response.

    They would be parsed as the response to the next request to the same host.
    """

    def has_expired(self) -> bool:
        """Return whether the connection must not be reused."""
        return super().has_expired() or self._has_trailing_data()

    def _has_trailing_data(self) -> bool:
        state = getattr(self._connection, "_h11_state", None)  # the library has no other way to find out
        return isinstance(state, h11.Connection) and self.is_idle() and bool(state.trailing_data[0])


class OutgoingBody(httpx2.AsyncByteStream):
    """The body of a response; each part that arrives counts as progress of its connection."""

    def __init__(self, body: httpx2.AsyncByteStream, stream: OutgoingStream) -> None:
        """Wrap a body that arrives on this stream."""
        self._body = body
        self._stream = stream
        stream.record_progress()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        parts = aiter(self._body)
        try:
            async for part in parts:
                self._stream.record_progress()
                yield part
        finally:
            if isinstance(parts, AsyncGenerator):
                await parts.aclose()

    async def aclose(self) -> None:
        """Release the connection."""
        await self._body.aclose()


def _find_piece_end(data: bytes, start: int, most_bytes: int) -> tuple[int, int]:
    """Return where the next piece ends, and how many lines end in it."""
    farthest = min(start + most_bytes, len(data))
    end = start
    for lines in range(PIECE_LINES_MAX):
        found = data.find(b"\n", end, farthest)
        if found < 0:
            return farthest, lines
        end = found + 1
    return end, PIECE_LINES_MAX
