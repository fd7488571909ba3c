"""What every command begins with: the settings, a database, and refusals told as messages."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final, cast

import rich_click as click

from callsheet.development_secret import make_directory
from callsheet.embedded.postgres import EmbeddedUnusable, embedded_postgres
from callsheet.server.serve import CannotListen
from callsheet.settings.load import Settings, SettingsUnusable, load_settings
from store.errors import Unavailable, UnsafeDatabase

UNUSABLE: Final = 2
"""The exit code when what we were started with cannot be used; 1 is a failure while running."""


def settings_with(**http: Any) -> Settings:  # noqa: ANN401  # options of several types
    """Read the settings, with what was said on the command line in place of the environment."""
    said = {f"CALLSHEET_HTTP_{name}".upper(): str(value) for name, value in http.items() if value is not None}
    return load_settings({**os.environ, **said})


@contextmanager
def database_of(settings: Settings) -> Generator[str]:
    """Give the database that the settings name, or the embedded one for as long as the block lasts."""
    if settings.data.database_url is not None:
        yield settings.data.database_url
        return
    make_directory(settings.data.directory)
    with embedded_postgres(settings.data.directory / "postgres-18") as conninfo:
        yield conninfo


@contextmanager
def refusals() -> Generator[None]:
    """Turn what a person can mend into a message and exit code 2, without a traceback."""
    try:
        yield
    except* (SettingsUnusable, EmbeddedUnusable, UnsafeDatabase, Unavailable, CannotListen) as refused:
        for one in _leaves(refused):
            click.echo(f"callsheet: {one}", err=True)
        raise SystemExit(UNUSABLE) from None


def _leaves(fault: BaseException) -> list[BaseException]:
    if not isinstance(fault, BaseExceptionGroup):
        return [fault]
    group = cast("BaseExceptionGroup[BaseException]", fault)
    return [leaf for one in group.exceptions for leaf in _leaves(one)]
