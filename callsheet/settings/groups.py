"""Settings of this package: where data lives, the admin port, and logging."""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Struct

from domain.setting_types import Port, Seconds, override_variable


class DataSettings(Struct, frozen=True, kw_only=True):
    """Storage: the data directory of this machine, and the database."""

    directory: Path = Path(".callsheet")
    """Directory of the embedded PostgreSQL (`postgres-18`), of the development secret, and of the checkpoint file by
    which a restore of the database is noticed. Keep it when you restore."""
    checkpoint_seconds: Seconds = 1
    """How often the checkpoint file is written, if the log has grown."""
    database_url: Annotated[str | None, override_variable("DATABASE_URL")] = None
    """PostgreSQL 15 or newer, as a URL or a libpq connection string; without it an embedded one is started."""


class AdminSettings(Struct, frozen=True, kw_only=True):
    """A separate port for health and metrics; the only one of `callsheet work` and `project`."""

    host: str = "127.0.0.1"
    """Address to listen on. The admin port requires no token."""
    port: Port | None = None
    """Port to listen on; 0 selects a free one. No admin port if not set."""


class LogSettings(Struct, frozen=True, kw_only=True):
    """Logging."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Minimum severity of log lines: `debug`, `info`, `warning` or `error`."""
    renderer: Literal["json", "console"] = "json"
    """`json` writes one object per line; `console` writes coloured lines for people."""
