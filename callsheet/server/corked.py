"""A connection whose writes within one turn of the event loop leave in one system call.

uvicorn writes the head of a response and its body apart, and each write is a system call that wakes the reader. A
profile of the server under load had 8 % of its time in them.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class CorkedTransport(asyncio.Transport):
    """Gathers what is written until the loop's next turn; everything else goes to the real transport."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        """Take the real transport."""
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._gathered: list[bytes | bytearray | memoryview] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write with whatever else this turn of the loop writes."""
        if not self._gathered:
            self._loop.call_soon(self._flush)
        self._gathered.append(data)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Write several pieces."""
        for data in list_of_data:
            self.write(data)

    def _flush(self) -> None:
        gathered, self._gathered = self._gathered, []
        if gathered and not self._transport.is_closing():
            self._transport.write(gathered[0] if len(gathered) == 1 else b"".join(gathered))

    def close(self) -> None:
        """Send what is gathered, and close."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._gathered.clear()
        self._transport.abort()

    def is_closing(self) -> bool:
        """Tell whether it is closing or closed."""
        return self._transport.is_closing()

    def is_reading(self) -> bool:
        """Tell whether it reads."""
        return self._transport.is_reading()

    def pause_reading(self) -> None:
        """Read nothing until told to go on."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        self._transport.resume_reading()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand what is read to another protocol."""
        self._transport.set_protocol(protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Give the protocol that is handed what is read."""
        return self._transport.get_protocol()

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401  # as asyncio has it
        """Give the socket, the address of the other side, and the like."""
        return self._transport.get_extra_info(name, default)


class CorkedHttp(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, over corked transports."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn names the transport so too
        """Cork a new connection."""
        super().connection_made(CorkedTransport(transport, self.loop))
