"""A WebSocket over a connection whose request asked for it (RFC 6455).

Frames, pings and the closing handshake are uvicorn's, over the sans-IO protocol of `websockets`. Our own parser has
read the request: theirs only sees the headers of the handshake (docs/decisions/0040).
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState

from callsheet.server.request_parser import Header
from callsheet.server.upgrade import find_key, list_values
from gateway.streams.socket import SEND_TEXTS

EXTENSIONS: Final = b"sec-websocket-extensions"
EXTENSIONS_BYTES_MAX: Final = 1_000


class BoundedWebSocket(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, whose connection ends for certain: also when its client reads nothing any more."""

    linger_seconds_max: ClassVar[float] = 10
    """How long a client may take to read what is left and to close its side, after we have closed ours."""

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401  # as uvicorn has them
        """Begin before the handshake."""
        super().__init__(*arguments, **named)
        # uvicorn logs each handshake with its query, which can have a ticket in it.
        self.logger = logging.getLogger("callsheet.websocket")
        self._abort_timer: asyncio.TimerHandle | None = None

    def begin(self, headers: Sequence[Header], scope: Any) -> None:  # noqa: ANN401  # an ASGI scope
        """Start the application for a request that `is_websocket_request`, with the scope of that request."""
        key = find_key(headers) or b""
        lines = [b"GET / HTTP/1.1", b"Host: x", b"Upgrade: websocket", b"Connection: Upgrade"]
        lines += [b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: " + key]
        extensions = b", ".join(list_values(headers, EXTENSIONS))
        if extensions and len(extensions) <= EXTENSIONS_BYTES_MAX:
            lines.append(b"Sec-WebSocket-Extensions: " + extensions)
        self.data_received(b"\r\n".join([*lines, b"", b""]))
        # The application starts in the next iteration of the loop, with the scope as it is then.
        of_handshake: Any = self.scope
        of_handshake.update(
            {name: scope[name] for name in ("path", "raw_path", "query_string", "headers", "server", "client")}
        )
        of_handshake["extensions"] = {**of_handshake["extensions"], SEND_TEXTS: self.send_texts}

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer that would abort the connection."""
        if self._abort_timer is not None:
            self._abort_timer.cancel()
        super().connection_lost(exc)

    def keepalive_timeout(self) -> None:
        """Abort: a client that did not answer a ping may not read what closing would still send."""
        super().keepalive_timeout()
        self.transport.abort()

    async def run_asgi(self) -> None:
        """Run the application; when it has returned the connection ends within `linger_seconds_max`."""
        try:
            await super().run_asgi()
        finally:
            if not self.disconnected:
                self._abort_timer = self.loop.call_later(self.linger_seconds_max, self.transport.abort)

    async def send_texts(self, texts: Sequence[bytes]) -> None:
        """Send text messages in one write, once the client has read most of what was sent before.

        Raises ClientDisconnected, an OSError.
        """
        await self.writable.wait()
        if self.disconnected or self.close_sent:
            raise ClientDisconnected
        try:
            for text in texts:
                self.conn.send_text(text)
        except InvalidState:
            raise ClientDisconnected from None
        self.transport.write(b"".join(self.conn.data_to_send()))
