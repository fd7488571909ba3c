"""A process whose database was restored under it starts again, also while that goes away once more."""

import asyncio
from pathlib import Path

import httpx2
import psycopg

from tests.support.callsheet.separate_processes import apart, gateway
from tests.support.servers.postgres import PostgresForTests
from tests.support.waiting import eventually

RESTORE = "with gone as (delete from events) update log_head set position = 0"

END_SESSIONS = """
select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
"""


def test_a_process_that_starts_again_outlives_an_outage(own_postgres: PostgresForTests, tmp_path: Path) -> None:
    database = own_postgres.lend_database(migrated=False)
    with apart(database, tmp_path, "serve", "--port", "0") as serving, gateway(serving, tmp_path) as here:
        for name in ("One", "Two"):
            here.post("/v1/projects", {"name": name})
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(RESTORE)
            connection.execute(END_SESSIONS)

        async def starts_again() -> bool:
            return any('"callsheet.starting_again"' in line for line in serving.said)

        asyncio.run(eventually(starts_again, what="the restore is noticed", seconds=30))
        own_postgres.crash()  # while it starts again, or just after
        own_postgres.start()

        async def serves() -> bool:
            assert serving.process.poll() is None, "".join(serving.said)
            try:
                answer = await asyncio.to_thread(here.client.post, "/v1/projects", json={"name": "Three"})
            except httpx2.TransportError:
                return False
            return answer.status_code == 201

        asyncio.run(eventually(serves, what="it serves again", seconds=60))
        with psycopg.connect(database) as connection:
            assert connection.execute("select count(*) from log_epochs").fetchone() == (2,)
