"""Responses to HTTP/1.0, which knows no chunks: a body without a length ends with the connection."""

from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


class CloseDelimitedCycle(RequestResponseCycle):
    """uvicorn's request and response, for callers that speak HTTP/1.0."""

    _is_delimited_by_close = False

    async def send(self, message: Any) -> None:  # noqa: ANN401  # an ASGI message, as uvicorn has it
        """Send a part of the response; without `content-length` as it is, and then close."""
        if message["type"] == "http.response.start":
            self._is_delimited_by_close = all(name != b"content-length" for name, _ in message["headers"])
            if self._is_delimited_by_close:
                self.chunked_encoding = False  # else uvicorn announces chunks
        elif self._is_delimited_by_close:
            self.expected_content_length = len(message.get("body", b"")) if self.scope["method"] != "HEAD" else 0
        await super().send(message)
