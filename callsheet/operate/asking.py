"""Database access of the commands for operators: settings, connection, schema check and interruption."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

import psycopg
from psycopg import AsyncConnection

from callsheet.settings.load import Settings
from callsheet.startup import load_settings_with_options, open_database
from callsheet.telemetry.logging import configure_logging
from callsheet.wiring.core import COMPONENTS
from store.errors import DatabaseAway, Unavailable
from store.postgres.connections import add_bounds, open_connection
from store.postgres.migrations import check_schema

APPLICATION_NAME: Final = "callsheet-operate"

Connection = AsyncConnection[tuple[Any, ...]]
T = TypeVar("T")


def query_database(question: Callable[[Connection], Awaitable[T]], *, name: str = APPLICATION_NAME) -> T:
    """Ask the database that the settings name, which has to be at this version; nothing is migrated.

    `name` is how the connection is known to PostgreSQL. A question that SIGINT or SIGTERM ends raises Interrupted.
    Raises what `exit_on_refusal` prints: SettingsUnusable, EmbeddedUnusable, Unavailable, UnsafeDatabase.
    """
    settings = load_operator_settings()
    with open_database(settings) as conninfo:
        return asyncio.run(run_interruptible(query_conninfo(conninfo, settings, question, name=name)))


class Interrupted(Exception):  # noqa: N818  # an answer to the person who pressed Ctrl-C
    """SIGINT or SIGTERM ended the command."""


async def run_interruptible(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine until it returns, or until SIGINT or SIGTERM, which cancel it. Raises Interrupted."""
    task = asyncio.create_task(work)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        raise Interrupted from None


def load_operator_settings() -> Settings:
    """Read the settings for a command that a person waits for: what goes wrong is said in lines for people."""
    settings = load_settings_with_options()
    configure_logging("warning", "console")
    return settings


async def query_conninfo(
    conninfo: str, settings: Settings, question: Callable[[Connection], Awaitable[T]], *, name: str = APPLICATION_NAME
) -> T:
    """Ask over a connection of its own. Raises Unavailable, UnsafeDatabase."""
    try:
        async with open_connection(_add_timeout(conninfo, settings, name)) as connection:
            await check_schema(connection, COMPONENTS)
            return await question(connection)
    except DatabaseAway as away:  # an operator may read what callers may not: host, user and database
        raise Unavailable(f"the database cannot be reached: {away.__cause__ or away}") from away


def _add_timeout(conninfo: str, settings: Settings, name: str) -> str:
    timeout = settings.store.statement_timeout_ms
    try:
        return add_bounds(conninfo, statement_timeout_ms=timeout, application_name=name)
    except psycopg.ProgrammingError:  # its message quotes the string, which may contain a password
        raise Unavailable("DATABASE_URL is neither a URL nor a connection string of PostgreSQL") from None
