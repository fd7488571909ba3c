"""Replies: responses whose status, headers and bytes are complete."""

from typing import Final

import msgspec
from litestar.types import HTTPResponseBodyEvent, HTTPResponseStartEvent, Receive, Send

Header = tuple[bytes, bytes]

JSON: Final[Header] = (b"content-type", b"application/json")
encode: Final = msgspec.json.Encoder().encode


class Reply:
    """A complete response."""

    def __init__(self, status: int, headers: list[Header], content: bytes = b"") -> None:
        """Create a reply; `content-length` is added to the headers, except to a 204 (RFC 9110, section 8.6)."""
        if status != 204:  # noqa: PLR2004  # an HTTP status reads best as its number
            headers.append((b"content-length", b"%d" % len(content)))
        self.start: HTTPResponseStartEvent = {"type": "http.response.start", "status": status, "headers": headers}
        self.content = content

    async def deliver(self, receive: Receive, send: Send) -> None:  # noqa: ARG002  # streams need it
        """Send the reply."""
        await send(self.start)
        body: HTTPResponseBodyEvent = {"type": "http.response.body", "body": self.content, "more_body": False}
        await send(body)
