"""Raw clients of event streams and of the WebSocket: they count events, and some also measure when each arrived."""

import asyncio
import base64
import json
import os
import re
import socket
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Literal

Kind = Literal["sse", "ws"]

MARKS: Final[Mapping[Kind, bytes]] = {"sse": b'"specversion":', "ws": b'"recorded_at":'}
"""Each event has it once."""
TIMES: Final[Mapping[Kind, re.Pattern[bytes]]] = {
    "sse": re.compile(rb'"time":"([0-9T:.\-]+)Z"'),
    "ws": re.compile(rb'"recorded_at":"([0-9T:.\-]+)Z"'),
}
PING_BYTES: Final = 4
PING: Final = bytes([0x89, PING_BYTES])
"""The head of a ping of the server (RFC 6455, section 5.5.2)."""
OVERLAP: Final = 64
CONNECT_AT_ONCE: Final = 50


class StreamClient(asyncio.Protocol):
    """One connection. It sends its request, and from then on it counts."""

    def __init__(
        self, kind: Kind, request: bytes, *, is_measuring: bool, is_stalled: bool, after_upgrade: bytes = b""
    ) -> None:
        """Create a client; a stalled one reads nothing after the head of its response."""
        self.events = 0
        self.latencies: list[float] = []
        self.is_open = asyncio.Event()
        self._arrived = asyncio.Event()
        self._wanted = 0
        self._mark = MARKS[kind]
        self._times = TIMES[kind]
        self._request = request
        self._after_upgrade = after_upgrade
        self._is_measuring = is_measuring
        self._is_stalled = is_stalled
        self._rest = b""
        self.transport: asyncio.Transport | None = None

    async def wait_for(self, events: int) -> None:
        """Wait until the client has got a number of events."""
        self._wanted = events
        self._arrived.clear()
        if self.events < events:
            await self._arrived.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # what asyncio gives to a TCP client
        self.transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Count the events in what has arrived."""
        if not self.is_open.is_set():
            if not data.startswith((b"HTTP/1.1 200", b"HTTP/1.1 101")):
                raise ConnectionError(data[:500].decode("latin-1"))
            self.is_open.set()
            if self._after_upgrade and self.transport is not None:
                self.transport.write(self._after_upgrade)
            if self._is_stalled and self.transport is not None:
                self.transport.pause_reading()
        if PING in data:
            self._answer_ping(data)
        whole = self._rest + data
        self.events += whole.count(self._mark)
        if self.events >= self._wanted:
            self._arrived.set()
        if self._is_measuring:
            now = time.time()
            for found in self._times.finditer(whole):
                self.latencies.append(now - datetime.fromisoformat(f"{found[1].decode()}+00:00").timestamp())
        # What may be the beginning of an event is read again with the next piece, and is never counted twice.
        last = whole.rfind(self._mark)
        self._rest = whole[max(len(whole) - OVERLAP, last + len(self._mark)) :] if last >= 0 else whole[-OVERLAP:]

    def _answer_ping(self, data: bytes) -> None:
        """Send a pong with the payload of a ping; the texts of events are ASCII, and never look like one."""
        payload = data.partition(PING)[2][:PING_BYTES]
        if len(payload) == PING_BYTES and self.transport is not None:
            self.transport.write(bytes([0x8A, 0x80 | PING_BYTES]) + bytes(4) + payload)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's own
        """Wake whoever waits for the head of the response."""
        self.is_open.set()


def create_client(
    kind: Kind, address: str, token: str, path: str, subscribe: dict[str, str], *, is_measuring: bool, is_stalled: bool
) -> StreamClient:
    """Create a client of a path (`sse`), or with a subscription to `runs` (`ws`)."""
    common = f"Host: {address}\r\nAuthorization: Bearer {token}\r\n"
    if kind == "sse":
        request = f"GET {path} HTTP/1.1\r\n{common}Accept: text/event-stream\r\n\r\n"
        return StreamClient(kind, request.encode(), is_measuring=is_measuring, is_stalled=is_stalled)
    key = base64.b64encode(os.urandom(16)).decode()
    request = (
        f"GET /v1/streams HTTP/1.1\r\n{common}Upgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    )
    message = {"channel": "runs", "event": "subscribe", "id": "b", "payload": subscribe}
    return StreamClient(
        kind,
        request.encode(),
        is_measuring=is_measuring,
        is_stalled=is_stalled,
        after_upgrade=mask_frame(json.dumps(message).encode()),
    )


def mask_frame(text: bytes) -> bytes:
    """Return a text frame of a client (RFC 6455, section 5.2), of at most 125 bytes, masked by zeros."""
    if len(text) > 125:  # noqa: PLR2004  # the longest that needs no further length
        return bytes([0x81, 0x80 | 126]) + len(text).to_bytes(2, "big") + bytes(4) + text
    return bytes([0x81, 0x80 | len(text)]) + bytes(4) + text


async def open_clients(host: str, port: int, clients: Sequence[StreamClient], *, receive_bytes: int | None) -> None:
    """Connect clients, some at a time, and wait until all have the head of their response."""
    loop = asyncio.get_running_loop()
    admitted = asyncio.Semaphore(CONNECT_AT_ONCE)

    async def connect(client: StreamClient) -> None:
        async with admitted:
            connection = socket.socket()
            connection.setblocking(False)  # noqa: FBT003  # socket's own
            if receive_bytes is not None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
            await loop.sock_connect(connection, (host, port))
            await loop.create_connection(lambda: client, sock=connection)
            await client.is_open.wait()

    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(connect(client))


def close_clients(clients: Sequence[StreamClient]) -> None:
    """Close the connections."""
    for client in clients:
        if client.transport is not None:
            client.transport.abort()
