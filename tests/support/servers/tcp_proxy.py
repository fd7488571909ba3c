"""A network between a client and a server that a test can cut: with a reset, or in silence."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.support.servers.background_loop import BackgroundLoop

PIECE_BYTES: Final = 64 * 1024


class TcpProxy:
    """Forwards connections of a free port of 127.0.0.1 to a Unix socket."""

    def __init__(self, path: Path, loop: BackgroundLoop) -> None:
        """Listen, on the loop."""
        self._path = path
        self._loop = loop
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._passing = asyncio.Event()
        self.port = 0
        loop.call(self._restore())

    def reset(self) -> None:
        """Cut the network with a reset of every connection; new ones are refused until `restore`."""
        self._loop.call(self._reset())

    def silence(self) -> None:
        """Cut the network in silence: nothing is forwarded any more, and connections stay half open.

        New connections are accepted and get no answer, as by a load balancer whose server is gone.
        """
        self._loop.call(self._silence())

    def restore(self) -> None:
        """Allow new connections; those from before a silent cut stay dead, as a router has forgotten them."""
        self._loop.call(self._restore())

    async def _reset(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _silence(self) -> None:
        self._passing.clear()

    async def _restore(self) -> None:
        self._passing = asyncio.Event()  # those who wait for the old one wait for ever
        self._passing.set()
        if self._server is None or not self._server.is_serving():
            self._server = await asyncio.start_server(self._begin, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    def _begin(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.create_task(self._forward(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _forward(self, reader: StreamReader, writer: StreamWriter) -> None:
        passing = self._passing
        there: StreamWriter | None = None
        try:
            await passing.wait()
            back, there = await asyncio.open_unix_connection(str(self._path))
            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(reader, there, passing))
                group.create_task(_copy(back, writer, passing))
        except* (OSError, EOFError):
            pass
        finally:
            for each in (writer, there):
                if each is not None:
                    each.transport.abort()


async def _copy(reader: StreamReader, writer: StreamWriter, passing: asyncio.Event) -> None:
    """Copy bytes while the network passes them; a connection that met a silent cut never passes any again.

    Raises EOFError at the end, OSError.
    """
    while piece := await reader.read(PIECE_BYTES):
        await passing.wait()
        writer.write(piece)
        await writer.drain()
    raise EOFError


@contextmanager
def open_tcp_proxy(path: Path) -> Generator[TcpProxy]:
    """Forward connections to a Unix socket for the length of the block."""
    with BackgroundLoop() as loop:
        proxy = TcpProxy(path, loop)
        try:
            yield proxy
        finally:
            proxy.reset()
