"""An embedded PostgreSQL: the server that a wheel carries, run in its own directory for development and tests.

The wheel's own Python API is not used, only its programs: it gives up after 10 s of crash recovery, and after a killed
parent it never stops the server again, because it counts the dead process as a user. Here the users of a server are
counted by file locks, which the operating system drops with the process that held them.
"""

import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg
import structlog
from psycopg.conninfo import make_conninfo

from callsheet.embedded.programs import EmbeddedUnusable, Programs, find_programs

DATABASE: Final = "callsheet"
SUPERUSER: Final = "postgres"
PORT: Final = 5432
"""Only a part of the socket's name: the server listens on no network address."""

SOCKET_PATH_BYTES_MAX: Final = 103
"""Maximum length of a socket's path on macOS (`sun_path`); on Linux it is 107."""
LOG_BYTES_MAX: Final = 10 * 1024 * 1024
LOG_TAIL_BYTES: Final = 2_000
RECOVERY_SECONDS_MAX: Final = 300
"""Maximum start-up time of a server; crash recovery reads at most `max_wal_size` of WAL."""
REFUSED_SECONDS_MAX: Final = 15
"""How long a start may fail at once: the children of a killed server hold its shared memory for a moment."""
STOP_SECONDS_MAX: Final = 60
INITIALISE_SECONDS_MAX: Final = 120
POLL_SECONDS: Final = 0.05

ACCEPTS: Final = 0
REJECTS: Final = 1
"""Exit codes of pg_isready: connections are accepted, or not yet (recovery) or no longer (shutdown)."""

CONFIGURATION: Final = """

# --- Callsheet: written once, when this directory was made; what is changed here stays changed ---

listen_addresses = ''           # a socket in a private directory, no network address
unix_socket_permissions = 0700

# An acknowledged command is on disk: Callsheet refuses to start when one of these is off.
fsync = on
full_page_writes = on
synchronous_commit = on

shared_buffers = 256MB
max_wal_size = 4GB              # few checkpoints, and so few full page images, under load
min_wal_size = 512MB
checkpoint_timeout = 15min
wal_compression = on
jit = off                       # compiling would cost more than any of our statements
"""


class EmbeddedPostgres:
    """A PostgreSQL server in a directory of its own, shared by all processes that name the same directory.

    The first to start it starts the server, the last to stop it stops it. A server that outlived a killed
    process is taken over as it is.
    """

    def __init__(self, directory: Path, *, version: int = 18) -> None:
        """Create it; nothing is started. `version` is the major version: 18, or 16 for tests of older servers."""
        self.directory = directory.expanduser().absolute()
        self.data = self.directory / "data"
        self._version = version
        self._users: int | None = None

    @property
    def conninfo(self) -> str:
        """The libpq connection string of the database `callsheet`, over a Unix socket."""
        return self._conninfo(DATABASE)

    def start(self) -> str:
        """Start the server, wait until crash recovery is over, and return its connection string.

        Raises EmbeddedUnusable, which says what to do, when there is no such server or it does not come up.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        programs = find_programs(self._version, self.directory)
        with self._hold_change_lock():
            if not self.data.exists():
                self._initialise(programs)
            self._check_version()
            programs.make_private(self._socket_directory())
            self._bring_up(programs)
            self._ensure_database()
            if self._users is None:
                self._users = _open_locked(self.directory / "users.lock", fcntl.LOCK_SH)
        return self.conninfo

    def stop(self) -> None:
        """Release the server, and stop it if no other process uses it. A no-op if it was not started."""
        if self._users is None:
            return
        with self._hold_change_lock():
            users, self._users = self._users, None
            last = _try_lock(users, fcntl.LOCK_EX)
            os.close(users)
            if last:
                self._stop_server()

    def has_died(self) -> bool:
        """Return whether the server's process is gone without having shut down: its `postmaster.pid` is still there."""
        return (self.data / "postmaster.pid").exists() and not self.is_running()

    def is_running(self) -> bool:
        """Return whether the server's process lives; it may still be starting, stopping or stopped."""
        try:
            os.kill(int((self.data / "postmaster.pid").read_text().splitlines()[0]), 0)
        except (FileNotFoundError, ProcessLookupError, ValueError, IndexError):
            return False
        except PermissionError:
            return True
        return True

    @contextmanager
    def _hold_change_lock(self) -> Generator[None]:
        """Hold the lock under which one process at a time starts or stops the server."""
        held = _open_locked(self.directory / "change.lock", fcntl.LOCK_EX)
        try:
            yield
        finally:
            os.close(held)

    def _initialise(self, programs: Programs) -> None:
        """Create the data directory elsewhere and rename it into place, so that an incomplete one is never used."""
        fresh = self.directory / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        programs.make_private(fresh)
        # Code point order is the same on every machine, which the order of a system's locale is not.
        locale = ("--no-locale",) if self._version < 17 else ("--locale-provider=builtin", "--builtin-locale=C.UTF-8")  # noqa: PLR2004  # the provider came with 17
        done = programs.run(
            "initdb", f"--pgdata={fresh}", f"--username={SUPERUSER}", "--auth=trust", "--encoding=UTF8",
            "--data-checksums", *locale, timeout_seconds=INITIALISE_SECONDS_MAX,
        )  # fmt: skip
        if done.returncode != 0:
            raise EmbeddedUnusable(f"initdb could not create {fresh}:\n{done.stdout}")
        with (fresh / "postgresql.conf").open("a") as configuration:
            configuration.write(CONFIGURATION)
        fresh.rename(self.data)

    def _check_version(self) -> None:
        found = (self.data / "PG_VERSION").read_text().strip()
        if found != str(self._version):
            raise EmbeddedUnusable(
                f"{self.data} was made by PostgreSQL {found}, and this is {self._version}: move it away to begin "
                "anew, or dump it with the old version and restore it with the new one"
            )

    def _bring_up(self, programs: Programs) -> None:
        """Start the server unless it runs, and wait until it accepts connections."""
        begun = time.monotonic()
        refused_since: float | None = None
        while (state := self._check_readiness(programs)) != ACCEPTS:
            now = time.monotonic()
            if state == REJECTS or self._start_server(programs):
                refused_since = None
            elif now - (refused_since := refused_since or now) > REFUSED_SECONDS_MAX:
                raise EmbeddedUnusable(
                    f"PostgreSQL does not start in {self.data}; its log ends:\n{self._read_log_tail()}"
                )
            if now - begun > RECOVERY_SECONDS_MAX:
                raise EmbeddedUnusable(f"PostgreSQL in {self.data} is still not ready after {now - begun:.0f} s")
            time.sleep(POLL_SECONDS)

    def _check_readiness(self, programs: Programs) -> int:
        where = (f"--host={self._socket_directory()}", f"--port={PORT}", "--timeout=3", "--quiet")
        return programs.run("pg_isready", *where, timeout_seconds=10).returncode

    def _start_server(self, programs: Programs) -> bool:
        if self._log.exists() and self._log.stat().st_size > LOG_BYTES_MAX:
            self._log.unlink()
        options = f"-p {PORT} -k {shlex.quote(str(self._socket_directory()))}"
        return self._run_pg_ctl(programs, "start", f"--options={options}", RECOVERY_SECONDS_MAX)

    def _stop_server(self) -> None:
        programs = find_programs(self._version, self.directory)
        if not self._run_pg_ctl(programs, "stop", "--mode=fast", STOP_SECONDS_MAX):
            structlog.get_logger().warning("embedded.still_stopping", directory=str(self.directory))
        elif self._socket_directory() != self.data:
            self._socket_directory().rmdir()

    def _run_pg_ctl(self, programs: Programs, verb: str, option: str, seconds_max: int) -> bool:
        """Run pg_ctl and wait for its end; return False if it reports a failure."""
        place = (f"--pgdata={self.data}", f"--log={self._log}") if verb == "start" else (f"--pgdata={self.data}",)
        try:
            done = programs.run(
                "pg_ctl", verb, *place, option, "--wait", f"--timeout={seconds_max}", timeout_seconds=seconds_max + 10
            )
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0

    def _ensure_database(self) -> None:
        with psycopg.connect(self._conninfo("postgres"), autocommit=True) as connection:
            found = connection.execute("select from pg_database where datname = 'callsheet'").fetchone()
            if found is None:
                connection.execute("create database callsheet")

    def _conninfo(self, database: str) -> str:
        return make_conninfo(host=str(self._socket_directory()), port=PORT, user=SUPERUSER, dbname=database)

    def _socket_directory(self) -> Path:
        """Return the data directory, or a short one if the socket's path would be too long."""
        if len(os.fsencode(self.data / f".s.PGSQL.{PORT}")) <= SOCKET_PATH_BYTES_MAX:
            return self.data
        name = hashlib.sha256(os.fsencode(self.data)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"callsheet-{os.getuid()}-{name}"

    @property
    def _log(self) -> Path:
        return self.data / "server.log"

    def _read_log_tail(self) -> str:
        return self._log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace") if self._log.exists() else "(no log)"


@contextmanager
def embedded_postgres(directory: Path, *, version: int = 18) -> Generator[str]:
    """Run an embedded PostgreSQL for the length of a block; yields its connection string.

    Raises EmbeddedUnusable when there is no such server or it does not come up.
    """
    server = EmbeddedPostgres(directory, version=version)
    conninfo = server.start()
    try:
        yield conninfo
    finally:
        server.stop()


def _open_locked(path: Path, kind: int) -> int:
    """Open a lock file and wait for its lock; closing the descriptor, or the end of the process, releases it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, kind)
    return descriptor


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
