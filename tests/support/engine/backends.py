"""Backends of PostgreSQL that tests end while something is under way in them."""

import psycopg


async def terminate(database: str, which: str) -> int:
    """End the backends of a database that match a condition on `pg_stat_activity a`; return how many."""
    query = f"""
        select count(pg_terminate_backend(a.pid)) from pg_stat_activity a
         where a.datname = current_database() and a.pid <> pg_backend_pid() and {which}
    """  # noqa: S608  # the conditions stand in the tests
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        cursor = await connection.execute(query.encode())
        row = await cursor.fetchone()
    return 0 if row is None else row[0]


ENGINES = "a.pid in (select pid from pg_locks where locktype = 'advisory' and classid = 1701734249 and granted)"
"""The sessions of the engines, which hold the locks of their epochs (their class is "engi")."""
APPENDERS = "a.application_name = 'callsheet-log' and a.query like '%append_events%'"
"""The backends that append to the log."""
