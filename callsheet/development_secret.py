"""The signing secret of development tokens: from the settings, or created once and kept in the data directory."""

import os
import secrets
from pathlib import Path

from callsheet.settings.load import Settings, SettingsUnusable
from domain.setting_types import SigningSecret

FILE = "jwt-secret"


def load_signing_secret(settings: Settings) -> SigningSecret:
    """Return the secret of the settings, or else the one in the data directory."""
    return settings.identity.jwt_secret or development_secret(settings.data.directory)


def development_secret(directory: Path) -> SigningSecret:
    """Return the signing secret of a data directory; create it (mode 0600) if it does not exist.

    Processes that create it at the same time agree on one: the first hard link wins.
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
    """Create the data directory if it does not exist. Raises SettingsUnusable with the reason."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise SettingsUnusable(
            {"CALLSHEET_DATA_DIRECTORY": f"{directory} cannot be created: {fault.strerror}"}
        ) from fault


def _link_unless_there(fresh: Path, path: Path) -> None:
    try:
        path.hardlink_to(fresh)
    except FileExistsError:
        pass
    finally:
        fresh.unlink()
