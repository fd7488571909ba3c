"""Every way in which a PostgreSQL can be away, put on a real one and taken off again."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from threading import Event, Thread
from typing import Final

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier, Literal

from callsheet.embedded.programs import ACCOUNT
from tests.support.servers.postgres import PostgresForTests
from tests.support.servers.tcp_proxy import TcpProxy

ROLE: Final = "callsheet_app"
"""What the processes connect as: no superuser, whom PostgreSQL would keep connections for."""
DISK: Final = "callsheet_small_disk"
CANCEL: Final = """
select pg_cancel_backend(pid) from pg_stat_activity where usename = %s and state = 'active'
"""
END: Final = "select pg_terminate_backend(pid) from pg_stat_activity where usename = %s"


class Kind(StrEnum):
    """Kind of an outage of the database."""

    READ_ONLY = "read-only"
    """Writes are refused, as on a managed server whose disk is full."""
    STANDBY = "standby"
    """The server comes back as a hot standby, and is promoted at the end."""
    NO_CONNECTIONS = "no connections"
    """Every connection was ended, and no new one is let in."""
    CANCELLED = "cancelled"
    """Whatever runs is cancelled, again and again."""
    STOPPED = "stopped"
    """Every process of the server is stopped (SIGSTOP)."""
    RESTARTED = "restarted"
    """The server crashes, and starts again after a while."""
    RESET = "reset"
    """The network resets connections and refuses new ones."""
    SILENT = "silent"
    """The network is cut in silence: connections stay half open and never work again."""
    DISK_FULL = "disk full"


class Away:
    """A database of a server behind a network, that can be away in every way."""

    def __init__(self, server: PostgresForTests, proxy: TcpProxy, disk: Path | None) -> None:
        """Create a database for the role of the processes; on a small disk if one is given."""
        self._server = server
        self._proxy = proxy
        self._disk = disk
        with self._administer() as connection:
            connection.execute(SQL("create role {} login").format(Identifier(ROLE)))
            where = SQL("")
            if disk is not None:
                connection.execute(SQL("create tablespace tiny location {}").format(Literal(str(disk))))
                where = SQL("tablespace tiny")
            connection.execute(SQL("create database away owner {} {}").format(Identifier(ROLE), where))
        self.conninfo = make_conninfo(host="127.0.0.1", port=proxy.port, user=ROLE, dbname="away")

    @property
    def has_disk(self) -> bool:
        """Return whether its disk is small enough to be filled."""
        return self._disk is not None

    @contextmanager
    def away(self, kind: Kind) -> Generator[None]:
        """Put one kind of outage on for the length of the block."""
        off = self._put_on(kind)
        try:
            yield
        finally:
            off()

    def _put_on(self, kind: Kind) -> Callable[[], None]:
        """Begin an outage, and return what ends it."""
        match kind:
            case Kind.READ_ONLY:
                self._set_read_only("on")
                return lambda: self._set_read_only("off")
            case Kind.STANDBY:
                return self._become_standby()
            case Kind.NO_CONNECTIONS:
                return self._refuse_connections()
            case Kind.CANCELLED:
                return self._cancel_all()
            case Kind.STOPPED:
                return self._stop_server()
            case Kind.RESTARTED:
                self._server.crash()
                return self._server.start
            case Kind.RESET:
                self._proxy.reset()
                return self._proxy.restore
            case Kind.SILENT:
                self._proxy.silence()
                return self._proxy.restore
            case Kind.DISK_FULL:
                return self._fill_disk()

    @contextmanager
    def _administer(self) -> Generator[psycopg.Connection]:
        with psycopg.connect(self._server.conninfo, autocommit=True) as connection:
            connection.execute("set default_transaction_read_only = off")
            yield connection

    def _set_read_only(self, value: str) -> None:
        with self._administer() as connection:
            connection.execute(SQL("alter system set default_transaction_read_only = {}").format(Literal(value)))
            connection.execute("select pg_reload_conf()")

    def _become_standby(self) -> Callable[[], None]:
        self._server.crash()
        self._server.start_as_standby()

        def promote() -> None:
            with psycopg.connect(self._server.conninfo, autocommit=True) as connection:
                connection.execute("select pg_promote()")

        return promote

    def _refuse_connections(self) -> Callable[[], None]:
        with self._administer() as connection:
            connection.execute(SQL("alter role {} connection limit 0").format(Identifier(ROLE)))
            connection.execute(END, [ROLE])

        def allow() -> None:
            with self._administer() as connection:
                connection.execute(SQL("alter role {} connection limit -1").format(Identifier(ROLE)))

        return allow

    def _cancel_all(self) -> Callable[[], None]:
        over = Event()

        def cancel() -> None:
            with self._administer() as connection:
                while not over.wait(0.005):
                    connection.execute(CANCEL, [ROLE])

        cancelling = Thread(target=cancel, daemon=True)
        cancelling.start()

        def end() -> None:
            over.set()
            cancelling.join()

        return end

    def _stop_server(self) -> Callable[[], None]:
        processes = self._server.list_processes()
        for process in processes:
            os.kill(process, signal.SIGSTOP)

        def go_on() -> None:
            for process in processes:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGCONT)

        return go_on

    def _fill_disk(self) -> Callable[[], None]:
        assert self._disk is not None
        filler = self._disk / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))
        return filler.unlink


@contextmanager
def mount_small_disk(megabytes: int) -> Generator[Path | None]:
    """Mount a file system in memory for the length of the block; yields None where this user may not mount."""
    directory = Path(tempfile.mkdtemp(prefix="callsheet-disk-"))
    directory.chmod(0o711)
    mount, unmount = shutil.which("mount"), shutil.which("umount")
    command = [str(mount), "-t", "tmpfs", "-o", f"size={megabytes}m,mode=1777", DISK, str(directory)]
    if mount is None or unmount is None or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        directory.rmdir()
        yield None
        return
    try:
        tablespace = directory / "tablespace"
        tablespace.mkdir()
        if os.getuid() == 0:
            shutil.chown(tablespace, ACCOUNT)
        yield tablespace
    finally:
        while subprocess.run([unmount, str(directory)], capture_output=True, check=False).returncode != 0:
            time.sleep(0.1)
        directory.rmdir()
