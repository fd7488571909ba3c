"""Checks of PostgreSQL itself: settings, archive, standby, bloat, and clocks."""

import time
from collections.abc import AsyncIterator
from typing import Any, Final

from callsheet.operate.doctor.findings import Finding, find_note, find_ok, find_wrong
from callsheet.operate.printing import count, format_duration
from store.log.epochs import Connection

CLOCK_SECONDS_MAX: Final = 1.0
"""Difference of clocks that is reported as wrong."""

DEAD_ROWS_MIN: Final = 10_000
"""Fewer dead rows are no bloat, whatever their share."""

SETTINGS: Final = """
select name, setting from pg_settings
 where name in ('fsync', 'full_page_writes', 'synchronous_commit', 'synchronous_standby_names', 'autovacuum',
                'archive_mode', 'data_checksums', 'server_encoding')
"""
"""Read the settings that decide what is kept and what is lost."""

ARCHIVER: Final = """
select last_archived_time, last_failed_time, last_failed_wal,
       coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false)
  from pg_stat_archiver
"""
"""Read whether the last attempt to archive a file of the WAL failed."""

STANDBYS: Final = """
select pg_is_in_recovery(),
       (select count(*) from pg_stat_replication where sync_state in ('sync', 'quorum')),
       (select count(*) from pg_stat_activity where wait_event = 'SyncRep')
"""
"""Read whether this is a standby, how many synchronous standbys it has, and how many commits wait for one."""

BLOAT: Final = """
select relname::text, n_dead_tup from pg_stat_user_tables
 where n_dead_tup > %(least)b::bigint and n_dead_tup > n_live_tup order by n_dead_tup desc
"""
"""Read the tables with more dead rows than live ones."""

CLOCK: Final = """
select extract(epoch from clock_timestamp())::float8,
       extract(epoch from (select recorded_at from log_head) - clock_timestamp())::float8
"""
"""Read the time of the database, and how far the last fact is in its future; -infinity in an empty log."""


async def check_database(connection: Connection) -> AsyncIterator[Finding]:
    """Yield what is found in PostgreSQL."""
    settings = dict(await _fetch(connection, SETTINGS))
    yield _check_settings(settings)
    yield await _check_archive(connection, settings)
    yield await _check_standby(connection, settings)
    yield await _check_bloat(connection)
    yield await _check_clocks(connection)


def _check_settings(settings: dict[str, str]) -> Finding:
    off = [name for name in ("fsync", "full_page_writes", "synchronous_commit") if settings.get(name) == "off"]
    if off:
        says = f"{', '.join(off)} is off: a crash can lose what was acknowledged."
        return find_wrong("settings", says, "Switch it on; Callsheet refuses to start otherwise.")
    if settings.get("autovacuum") == "off":
        return find_wrong("settings", "autovacuum is off: tables grow without end.", "Switch it on.")
    if settings.get("server_encoding") != "UTF8":
        says = f"The encoding is {settings.get('server_encoding')}: names are mangled."
        return find_wrong("settings", says, "Dump the database and restore it into one with encoding UTF8.")
    if settings.get("synchronous_standby_names") and settings.get("synchronous_commit") == "local":
        says = "synchronous_commit is local: commits do not wait for the synchronous standby that is configured."
        return find_wrong("settings", says, "Set synchronous_commit to on.")
    if settings.get("data_checksums") == "off":
        return find_note("settings", "Data checksums are off: damaged pages are not noticed.", "See pg_checksums.")
    return find_ok(
        "settings", "fsync, full_page_writes, synchronous_commit and autovacuum are on; the encoding is UTF8."
    )


async def _check_archive(connection: Connection, settings: dict[str, str]) -> Finding:
    if settings.get("archive_mode") == "off":
        says = "The WAL is not archived: only the moments of base backups can be restored."
        return find_note("archive", says, "See docs/operations.md, backups.")
    ((archived, _, wal, failing),) = await _fetch(connection, ARCHIVER)
    if failing:
        says = f"archive_command fails for {wal}: PostgreSQL keeps all WAL until the disk is full."
        return find_wrong("archive", says, "See the log of PostgreSQL, and correct archive_command.")
    return find_ok("archive", f"The WAL is archived; the last file at {archived or 'no time yet'}.")


async def _check_standby(connection: Connection, settings: dict[str, str]) -> Finding:
    ((is_standby, standbys, waiting),) = await _fetch(connection, STANDBYS)
    if is_standby:
        return find_wrong(
            "standby", "This server is a standby: nothing can be written.", "Promote it, or use the primary."
        )
    names = settings.get("synchronous_standby_names")
    if names and not standbys:
        says = f"No synchronous standby of {names} is connected; {count(waiting)} commits wait unacknowledged."
        return find_wrong("standby", says, "Start the standby, or empty synchronous_standby_names and reload.")
    if names:
        return find_ok("standby", f"{count(standbys)} synchronous standby is connected; {count(waiting)} commits wait.")
    return find_ok("standby", "No synchronous standby is configured; an acknowledged command is on one disk.")


async def _check_bloat(connection: Connection) -> Finding:
    bloated = await _fetch(connection, BLOAT, {"least": DEAD_ROWS_MIN})
    if bloated:
        named = ", ".join(f"{name} ({count(dead)})" for name, dead in bloated[:5])
        says = f"Tables have more dead rows than live ones: {named}."
        return find_wrong(
            "bloat", says, f"Run `vacuum {bloated[0][0]}`, and look for a transaction that is open for long."
        )
    return find_ok("bloat", "No table has more dead rows than live ones.")


async def _check_clocks(connection: Connection) -> Finding:
    before = time.time()
    ((database, ahead),) = await _fetch(connection, CLOCK)
    after = time.time()
    skew = max(before - database, database - after, 0.0)
    if skew > CLOCK_SECONDS_MAX:
        says = f"The clocks of this process and of the database differ by {format_duration(skew)}."
        return find_wrong("clocks", says, "Synchronise both with NTP: deadlines, tokens and restores depend on it.")
    if ahead > CLOCK_SECONDS_MAX:
        says = f"The last fact is {format_duration(ahead)} in the future of the database's clock, which was put back."
        return find_wrong("clocks", says, "Synchronise it with NTP; new facts get the same time until it catches up.")
    return find_ok("clocks", f"The clocks of this process and of the database agree within {CLOCK_SECONDS_MAX:.0f} s.")


async def _fetch(connection: Connection, query: str, parameters: dict[str, int] | None = None) -> list[tuple[Any, ...]]:
    return await (await connection.execute(query.encode(), parameters)).fetchall()
