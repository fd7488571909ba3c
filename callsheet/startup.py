"""Start-up of every command: settings, database, and errors printed as messages without a traceback."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final, cast

import rich_click as click

from callsheet.development_secret import make_directory
from callsheet.embedded.postgres import EmbeddedPostgres, EmbeddedUnusable
from callsheet.server.serve import CannotListen
from callsheet.settings.load import Settings, SettingsUnusable, load_settings
from gateway.flags.flags import FlagsUnusable
from gateway.identity.assembly import NoIssuer
from store.errors import Unavailable, UnsafeDatabase

UNUSABLE: Final = 2
"""Exit code for invalid input, settings or databases; 1 is a failure while running."""


def load_settings_with_options(**http: Any) -> Settings:  # noqa: ANN401  # options of several types
    """Load the settings; options of the command line override environment variables."""
    said = {f"CALLSHEET_HTTP_{name}".upper(): str(value) for name, value in http.items() if value is not None}
    return load_settings({**os.environ, **said})


@contextmanager
def open_database(settings: Settings) -> Generator[str]:
    """Yield the connection string of DATABASE_URL, or run the embedded PostgreSQL for the length of the block."""
    with open_server(settings) as server:
        yield server if isinstance(server, str) else server.conninfo


@contextmanager
def open_server(settings: Settings) -> Generator[EmbeddedPostgres | str]:
    """Yield the connection string of DATABASE_URL, or the embedded PostgreSQL, run for the length of the block."""
    if settings.data.database_url is not None:
        yield settings.data.database_url
        return
    make_directory(settings.data.directory)
    server = EmbeddedPostgres(settings.data.directory / "postgres-18")
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def exit_on_refusal() -> Generator[None]:
    """Print an error that the user can fix, and exit with 2, without a traceback."""
    try:
        yield
    except* (
        FlagsUnusable,
        NoIssuer,
        SettingsUnusable,
        EmbeddedUnusable,
        UnsafeDatabase,
        Unavailable,
        CannotListen,
    ) as refused:
        for fault in _flatten_group(refused):
            click.echo(f"callsheet: {fault}", err=True)
        raise SystemExit(UNUSABLE) from None


def _flatten_group(fault: BaseException) -> list[BaseException]:
    if not isinstance(fault, BaseExceptionGroup):
        return [fault]
    group = cast("BaseExceptionGroup[BaseException]", fault)
    return [leaf for inner in group.exceptions for leaf in _flatten_group(inner)]
