"""A PostgreSQL with a WAL archive, restored to a point in time by the commands of docs/operations.md."""

import shutil
import tempfile
from pathlib import Path
from typing import Final

import psycopg
from psycopg.conninfo import make_conninfo

from callsheet.embedded.postgres import EmbeddedPostgres
from callsheet.embedded.programs import find_programs

SECONDS_MAX: Final = 120


class RestorablePostgres:
    """A server in a directory of its own, with a base backup and an archive beside it."""

    def __init__(self) -> None:
        """Start it, and switch the archive on."""
        self.directory = Path(tempfile.mkdtemp(prefix="callsheet-restore-"))
        self.directory.chmod(0o711)
        self._server = EmbeddedPostgres(self.directory)
        self._programs = find_programs(18, self.directory)
        self.archive = self.directory / "archive"
        self.backup = self.directory / "backup"
        self._programs.make_private(self.archive)
        self.conninfo = self._server.start()
        archive = f"test ! -f {self.archive}/%f && cp %p {self.archive}/%f"
        for setting in ("archive_mode = 'on'", f"archive_command = '{archive}'"):
            self._execute(f"alter system set {setting}")
        self._server.stop()
        self._server.start()

    def back_up(self) -> None:
        """Create a base backup of the running server."""
        self._programs.make_private(self.backup)
        source = make_conninfo(self.conninfo, dbname="postgres")
        done = self._programs.run(
            "pg_basebackup", f"--dbname={source}", f"--pgdata={self.backup}", "--checkpoint=fast", "--wal-method=none",
            timeout_seconds=SECONDS_MAX,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout

    def mark(self, name: str) -> None:
        """Name this point in time, to restore to."""
        self._execute(f"select pg_create_restore_point('{name}')")

    def restore(self, name: str) -> None:
        """Replace the data by the backup, recovered up to the named point."""
        self._execute("select pg_switch_wal()")
        self._server.stop()
        data = self._server.data
        shutil.rmtree(data)
        self._programs.make_private(data)
        shutil.copytree(self.backup, data, dirs_exist_ok=True)
        with (data / "postgresql.auto.conf").open("a") as configuration:
            configuration.write(
                f"restore_command = 'cp {self.archive}/%f %p'\n"
                f"recovery_target_name = '{name}'\nrecovery_target_action = 'promote'\nhot_standby = 'off'\n"
            )
        (data / "recovery.signal").touch()
        owner = self.backup.stat()
        for path in (data, *data.rglob("*")):
            shutil.chown(path, owner.st_uid, owner.st_gid)
        self._server.start()

    def destroy(self) -> None:
        """Stop it and delete everything."""
        self._server.stop()
        shutil.rmtree(self.directory)

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            connection.execute(statement.encode())
