"""Replies: responses whose status, headers and bytes are complete."""

import asyncio
from typing import Final

import msgspec
from litestar.types import HTTPResponseBodyEvent, HTTPResponseStartEvent, Receive, Send

Header = tuple[bytes, bytes]

JSON: Final[Header] = (b"content-type", b"application/json")
encode: Final = msgspec.json.Encoder().encode
PIECE_BYTES: Final = 64 * 1024
"""How much of a response is written before the connection's back-pressure is checked again."""


class Reply:
    """A complete response."""

    def __init__(self, status: int, headers: list[Header], content: bytes = b"") -> None:
        """Create a reply; `content-length` is added to the headers, except to 204 and 304 (RFC 9110, section 8.6)."""
        if status not in {204, 304}:
            headers.append((b"content-length", b"%d" % len(content)))
        self.start: HTTPResponseStartEvent = {"type": "http.response.start", "status": status, "headers": headers}
        self.status = status
        self.headers = headers
        self.content = content

    async def deliver(self, receive: Receive, send: Send) -> None:  # noqa: ARG002  # streams need it
        """Send the reply: a large one in pieces, each once the peer has taken most of those before it."""
        await send(self.start)
        await send_content(send, self.content)


async def send_content(send: Send, content: bytes) -> None:
    """Send the body of a response that `content-length` announces, in pieces."""
    rest = memoryview(content)
    while len(rest) > PIECE_BYTES:
        piece: HTTPResponseBodyEvent = {
            "type": "http.response.body",
            "body": bytes(rest[:PIECE_BYTES]),
            "more_body": True,
        }
        await send(piece)
        await asyncio.sleep(0)  # the connection notices back-pressure when it writes, once in each turn of the loop
        rest = rest[PIECE_BYTES:]
    last: HTTPResponseBodyEvent = {"type": "http.response.body", "body": bytes(rest), "more_body": False}
    await send(last)
