"""Copies of a PostgreSQL server by its own tools: a standby that follows it, or a restored backup.

`pg_basebackup` is that of the embedded wheel, as operators use it (docs/operations.md).
"""

import os
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from callsheet.embedded.programs import Programs, find_programs

SECONDS_MAX: Final = 60
PORT: Final = 5433


class PostgresCopy:
    """A server in a directory of its own, made from a base backup."""

    def __init__(self, source: str, *, version: int = 18, standby_name: str | None = None) -> None:
        """Back a running server up; with `standby_name` the copy follows it as a standby of that name."""
        self.directory = Path(tempfile.mkdtemp(prefix="callsheet-copy-"))
        self.directory.chmod(0o711)
        self.data = self.directory / "data"
        self._programs: Programs = find_programs(version, self.directory)
        self._programs.make_private(self.data)
        source = make_conninfo(source, dbname="postgres")
        self._run(
            "pg_basebackup", f"--dbname={source}", f"--pgdata={self.data}", "--checkpoint=fast", "--wal-method=stream"
        )
        if standby_name is not None:
            follow = make_conninfo(source, application_name=standby_name, dbname="").replace("'", "''")
            self.configure(f"primary_conninfo = '{follow}'", "hot_standby = on")
            self._touch("standby.signal")

    def configure(self, *lines: str) -> None:
        """Add lines to the configuration; a running server needs a start to see most of them."""
        with (self.data / "postgresql.auto.conf").open("a") as configuration:
            configuration.write("\n".join(("", *lines, "")))

    def _touch(self, name: str) -> None:
        path = self.data / name
        path.touch()
        owner = self.data.stat()
        os.chown(path, owner.st_uid, owner.st_gid)

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        options = f"-p {PORT} -k {self.data}"
        where = (f"--pgdata={self.data}", f"--log={self.data / 'server.log'}", f"--options={options}")
        self._run("pg_ctl", "start", *where, "--wait", f"--timeout={SECONDS_MAX}")

    def promote(self) -> None:
        """Promote a standby to the primary."""
        self._run("pg_ctl", "promote", f"--pgdata={self.data}", "--wait", f"--timeout={SECONDS_MAX}")

    def send(self, number: signal.Signals) -> None:
        """Send a signal to all processes of the server."""
        leader = self._leader()
        children = Path(f"/proc/{leader}/task/{leader}/children").read_text().split()
        for pid in (leader, *map(int, children)):
            os.kill(pid, number)

    def _leader(self) -> int:
        return int((self.data / "postmaster.pid").read_text().splitlines()[0])

    def kill(self) -> None:
        """Kill all its processes, stopped ones too, as a machine that is gone; it can be started again."""
        leader = self._leader()
        self.send(signal.SIGKILL)
        deadline = time.monotonic() + SECONDS_MAX
        while _is_running(leader) and time.monotonic() < deadline:
            time.sleep(0.01)
        for lock in ("postmaster.pid", f".s.PGSQL.{PORT}.lock", f".s.PGSQL.{PORT}"):
            (self.data / lock).unlink(missing_ok=True)

    def conninfo(self, like: str) -> str:
        """Return the connection string of the database that another string names, on this server."""
        named = conninfo_to_dict(like)
        return make_conninfo(host=str(self.data), port=PORT, user=named["user"], dbname=named["dbname"])

    def destroy(self) -> None:
        """Stop it at once and delete its files."""
        if (self.data / "postmaster.pid").exists():
            self.send(signal.SIGCONT)
            self._programs.run(
                "pg_ctl", "stop", f"--pgdata={self.data}", "--mode=immediate", timeout_seconds=SECONDS_MAX
            )
        shutil.rmtree(self.directory)

    def _run(self, program: str, *arguments: str) -> None:
        done = self._programs.run(program, *arguments, timeout_seconds=2 * SECONDS_MAX)
        log = self.data / "server.log"
        said = done.stdout or (log.read_text()[-2_000:] if log.exists() else "")
        assert done.returncode == 0, f"{program}: {said}"


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def set_synchronous(primary: str, names: str) -> None:
    """Set which standbys the commits of a server wait for; empty for none."""
    with psycopg.connect(make_conninfo(primary, dbname="postgres"), autocommit=True) as connection:
        connection.execute(f"alter system set synchronous_standby_names = '{names}'".encode())
        connection.execute("select pg_reload_conf()")
