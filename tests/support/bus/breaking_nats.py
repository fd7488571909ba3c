"""A server that speaks as much of NATS as a test needs, and drops the first connection at a given point."""

import asyncio
import socket
import struct
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Final

INFO: Final = b'INFO {"server_id":"x","version":"2.10.0","proto":1,"headers":true,"max_payload":8388608}\r\n'
NO_LINGER: Final = struct.pack("ii", 1, 0)
"""A socket with this option is closed with a reset."""


class Stage(StrEnum):
    """Point at which the first connection is broken."""

    ACCEPTED = "accepted"
    INTRODUCED = "introduced"
    ASKED = "asked"
    """It has sent CONNECT and its first ping."""
    ANSWERED = "answered"
    """And has had the pong."""
    SUBSCRIBED = "subscribed"


class Ending(StrEnum):
    """Way in which the connection is broken."""

    CLOSED = "closed"
    RESET = "reset"
    SHUT_DOWN = "shut down"
    """It is told that the server ends, and then closed."""
    SILENT = "silent"
    ANOTHER_LINE = "another line"
    """A line that is not the one that is due, and nothing wrong either."""
    LONG_LINE = "long line"


class BreakingNats:
    """Breaks off the first connection, and serves every later one."""

    def __init__(self, point: Stage, ending: Ending) -> None:
        """Create the server; it accepts connections within `serving`."""
        self._point = point
        self._ending = ending
        self._port = 0
        self._connections: set[asyncio.Task[None]] = set()
        self.carries = False
        """Whether a later connection has subscribed."""

    @property
    def url(self) -> str:
        """Return the URL."""
        return f"nats://127.0.0.1:{self._port}"

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[None]:
        """Serve for the length of a block."""
        server = await asyncio.start_server(self._begin, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()
            for connection in self._connections:
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    def _begin(self, reader: StreamReader, writer: StreamWriter) -> None:
        later = bool(self._connections)
        self._connections.add(asyncio.create_task(self._hold(reader, writer, later=later)))

    async def _hold(self, reader: StreamReader, writer: StreamWriter, *, later: bool) -> None:
        try:
            if later:
                await self._serve(reader, writer)
            else:
                await self._reach_stage(reader, writer)
                await self._end_connection(writer)
        finally:
            writer.close()

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(INFO)
        while line := await reader.readline():
            if line == b"PING\r\n":
                writer.write(b"PONG\r\n")
            self.carries |= line.startswith(b"SUB ")

    async def _reach_stage(self, reader: StreamReader, writer: StreamWriter) -> None:
        if self._point is Stage.ACCEPTED:
            return
        writer.write(INFO)
        if self._point is Stage.INTRODUCED:
            return
        await reader.readuntil(b"PING\r\n")
        if self._point is Stage.ASKED:
            return
        writer.write(b"PONG\r\n")
        if self._point is Stage.SUBSCRIBED:
            await reader.readuntil(b"SUB ")

    async def _end_connection(self, writer: StreamWriter) -> None:
        match self._ending:
            case Ending.CLOSED:
                return
            case Ending.RESET:
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
                return
            case Ending.SHUT_DOWN:
                writer.write(b"-ERR 'Server Shutdown'\r\n")
                return
            case Ending.ANOTHER_LINE:
                writer.write(b"+OK\r\n")
            case Ending.LONG_LINE:
                writer.write(b"x" * 100_000 + b"\r\n")
            case Ending.SILENT:
                pass
        await asyncio.Event().wait()
