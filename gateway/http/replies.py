"""Replies: status, headers and bytes that are ready to be sent, without any further look at them."""

from typing import Any, Final

import msgspec
from litestar.response.base import ASGIResponse
from litestar.types import HTTPResponseBodyEvent, HTTPResponseStartEvent, Receive, Scope, Send

Header = tuple[bytes, bytes]

JSON: Final = (b"content-type", b"application/json")
encode: Final = msgspec.json.Encoder().encode


class Reply(ASGIResponse):
    """A whole response. It is an ASGIResponse by name only, so that Litestar sends it on as it is."""

    def __init__(self, status: int, headers: list[Header], content: bytes = b"") -> None:  # pyright: ignore[reportMissingSuperCall]  # one by name only
        """Make it; the content's length is added to the headers."""
        self.start: HTTPResponseStartEvent = {
            "type": "http.response.start",
            "status": status,
            "headers": [*headers, (b"content-length", b"%d" % len(content))],
        }
        self.content: HTTPResponseBodyEvent = {"type": "http.response.body", "body": content, "more_body": False}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI
        """Send it."""
        await send(self.start)
        await send(self.content)


def json_reply(status: int, body: Any, *headers: Header) -> Reply:  # noqa: ANN401  # anything msgspec writes
    """Reply with a body as JSON."""
    return Reply(status, [JSON, *headers], encode(body))


def no_content() -> Reply:
    """Reply that there is nothing."""
    return Reply(204, [])
