"""A connection pooler before PostgreSQL: PgBouncer where it is installed, and a small one that pools as it does.

No package of the lock files has PgBouncer. The small pooler speaks the start of the protocol itself and then passes
messages on, to a server connection that it holds until the transaction or the client ends, as the mode says. Like
PgBouncer it refuses startup parameters that it does not know, and does not reset sessions between transactions.
"""

import asyncio
import os
import shutil
import socket
import struct
import subprocess
import tempfile
from asyncio import StreamReader, StreamWriter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from callsheet.embedded.programs import ACCOUNT
from tests.support.servers.background_loop import BackgroundLoop

PGBOUNCER: Final = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")
KNOWN_PARAMETERS: Final = frozenset(
    {"user", "database", "client_encoding", "datestyle", "timezone", "standard_conforming_strings", "application_name"}
)
PROTOCOL: Final = 196608
CONFIGURATION: Final = """
[databases]
* = host={host} port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = {mode}
default_pool_size = 60
max_client_conn = 200
logfile =
pidfile =
"""


class Server(NamedTuple):
    """A connection of the pooler to PostgreSQL, and what PostgreSQL said of itself at its start."""

    reader: StreamReader
    writer: StreamWriter
    parameters: bytes


class SmallPooler:
    """Pools connections to a Unix socket of PostgreSQL by transaction or by session."""

    def __init__(self, path: Path, mode: str) -> None:
        """Create it; `serve` starts it."""
        self._path = path
        self._mode = mode
        self._idle: list[Server] = []
        self._server: asyncio.Server | None = None
        self._opened: list[StreamWriter] = []
        self._connections: set[asyncio.Task[None]] = set()

    async def serve(self) -> int:
        """Listen on a free port of 127.0.0.1 and return it."""
        self._server = await asyncio.start_server(self._begin, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        """End every connection, and listen no more."""
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        for writer in self._opened:
            writer.transport.abort()

    def _begin(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.create_task(self._keep(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _keep(self, reader: StreamReader, writer: StreamWriter) -> None:
        try:
            await self._serve(reader, writer)
        except (OSError, EOFError):
            pass
        finally:
            writer.transport.abort()

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        parameters = await _read_startup(reader, writer)
        unknown = sorted(parameters.keys() - KNOWN_PARAMETERS)
        if unknown:
            _refuse(writer, f"unsupported startup parameter: {unknown[0]}")
            await writer.drain()
            return
        server = await self._take(parameters)
        if "application_name" in parameters:
            await _set_application_name(server, parameters["application_name"])
        writer.write(_message(b"R", struct.pack("!i", 0)) + server.parameters)
        writer.write(_message(b"K", struct.pack("!ii", 1_000_000 + len(self._connections), 1)) + _message(b"Z", b"I"))
        if self._mode == "session":
            await self._pass_session(reader, writer, server)
        self._idle.append(server)
        while True:
            kind, body = await _read_message(reader)
            if kind == b"X":
                return
            server = await self._take(parameters)
            await _pass_transaction(reader, writer, server, _message(kind, body))
            self._idle.append(server)

    async def _pass_session(self, reader: StreamReader, writer: StreamWriter, server: Server) -> None:
        """Pass on everything until the client ends; its server connection ends with it."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(reader, server.writer))
                group.create_task(_copy(server.reader, writer))
        except* (OSError, EOFError):
            raise EOFError from None
        finally:
            server.writer.close()

    async def _take(self, parameters: dict[str, str]) -> Server:
        if self._idle:
            return self._idle.pop()
        reader, writer = await asyncio.open_unix_connection(str(self._path))
        self._opened.append(writer)
        named = b"".join(f"{name}\0{parameters[name]}\0".encode() for name in ("user", "database", "client_encoding"))
        startup = struct.pack("!i", PROTOCOL) + named + b"\0"
        writer.write(struct.pack("!i", len(startup) + 4) + startup)
        told = b""
        while True:
            kind, body = await _read_message(reader)
            if kind == b"S":
                told += _message(kind, body)
            elif kind == b"Z":
                return Server(reader, writer, told)
            elif kind == b"E":
                raise EOFError(body)


async def _set_application_name(server: Server, name: str) -> None:
    quoted = name.replace("'", "''")
    server.writer.write(_message(b"Q", f"set application_name = '{quoted}'\0".encode()))
    while (await _read_message(server.reader))[0] != b"Z":
        pass


async def _pass_transaction(reader: StreamReader, writer: StreamWriter, server: Server, first: bytes) -> None:
    """Pass messages on until the server is ready outside of a transaction."""
    server.writer.write(first)
    sending = asyncio.create_task(_copy_messages(reader, server.writer))
    try:
        while True:
            kind, body = await _read_message(server.reader)
            if kind == b"Z" and body == b"I":
                break
            writer.write(_message(kind, body))
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    writer.write(_message(b"Z", b"I"))


async def _copy(reader: StreamReader, writer: StreamWriter) -> None:
    while piece := await reader.read(65_536):
        writer.write(piece)
        await writer.drain()
    raise EOFError


async def _copy_messages(reader: StreamReader, writer: StreamWriter) -> None:
    """Copy whole messages: this is cancelled between them only, as a client waits when a transaction ends."""
    while True:
        kind, body = await _read_message(reader)
        writer.write(_message(kind, body))


async def _read_startup(reader: StreamReader, writer: StreamWriter) -> dict[str, str]:
    while True:
        (length, code) = struct.unpack("!ii", await reader.readexactly(8))
        body = await reader.readexactly(length - 8)
        if code == PROTOCOL:
            break
        writer.write(b"N")  # no encryption
    words = body.rstrip(b"\0").decode().split("\0")
    return dict(zip(words[::2], words[1::2], strict=True))


async def _read_message(reader: StreamReader) -> tuple[bytes, bytes]:
    kind = await reader.readexactly(1)
    (length,) = struct.unpack("!i", await reader.readexactly(4))
    return kind, await reader.readexactly(length - 4)


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def _refuse(writer: StreamWriter, reason: str) -> None:
    writer.write(_message(b"E", f"SFATAL\0VFATAL\0C08P01\0M{reason}\0\0".encode()))


@contextmanager
def open_small_pooler(path: Path, mode: str) -> Generator[int]:
    """Run the small pooler for the length of the block; yields its port."""
    with BackgroundLoop() as loop:
        pooler = SmallPooler(path, mode)
        yield loop.call(pooler.serve())
        loop.call(pooler.close())


@contextmanager
def open_pgbouncer(path: Path, mode: str) -> Generator[int]:
    """Run the real PgBouncer for the length of the block; yields its port. It refuses to run as root."""
    assert PGBOUNCER is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="callsheet-pgbouncer-") as name:
        directory = Path(name)
        users, configuration = directory / "users.txt", directory / "pgbouncer.ini"
        users.write_text('"postgres" ""\n')
        where = {"host": path.parent, "port": path.suffix[1:], "listen": port, "users": users}
        configuration.write_text(CONFIGURATION.format(mode=mode, **where))
        for each in (directory, users, configuration):
            each.chmod(0o755)
        account = ACCOUNT if os.getuid() == 0 else None
        process = subprocess.Popen([PGBOUNCER, str(configuration)], user=account, stderr=subprocess.PIPE, text=True)
        try:
            assert process.stderr is not None
            assert any("process up" in line for line in process.stderr)
            yield port
        finally:
            process.kill()
            process.communicate()
