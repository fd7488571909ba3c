"""The secret of a development machine: made once and kept, so that tokens outlive a restart."""

import os
import secrets
from pathlib import Path

from callsheet.settings.load import SettingsUnusable
from domain.setting_types import SigningSecret

FILE = "jwt-secret"


def development_secret(directory: Path) -> SigningSecret:
    """Read the signing secret of a data directory, making it (readable by its owner only) when there is none.

    Two processes that make it at the same time end up with the same one: the first link wins.
    """
    path = directory / FILE
    if not path.exists():
        make_directory(directory)
        fresh = directory / f"{FILE}.{secrets.token_hex(8)}"
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(48))
        _link_unless_there(fresh, path)
    return SigningSecret(path.read_text().strip())


def make_directory(directory: Path) -> None:
    """Make the data directory where there is none. Raises SettingsUnusable, which says why it cannot be made."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise SettingsUnusable({"CALLSHEET_DATA_DIRECTORY": f"{directory} cannot be made: {fault.strerror}"}) from fault


def _link_unless_there(fresh: Path, path: Path) -> None:
    try:
        path.hardlink_to(fresh)
    except FileExistsError:
        pass
    finally:
        fresh.unlink()
