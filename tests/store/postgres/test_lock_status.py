"""The status of a role names its holder and counts its standbys."""

import os

import psycopg
from psycopg.conninfo import make_conninfo

from store.postgres.exclusive import ExclusiveRole
from store.postgres.lock_status import NOBODY, name_session, read_lock_status
from tests.support.store.role_holder import LOCK


async def connect(database: str, label: str) -> psycopg.AsyncConnection[tuple[object, ...]]:
    conninfo = make_conninfo(database, application_name=name_session(label))
    return await psycopg.AsyncConnection.connect(conninfo, autocommit=True)


async def test_each_role_has_its_holder_and_its_standbys(empty_database: str) -> None:
    async with (
        await connect(empty_database, "worker-runs") as holder,
        await connect(empty_database, "worker-runs"),
        await connect(empty_database, "worker-tasks"),
        await connect(empty_database, "another"),
    ):
        assert await ExclusiveRole(LOCK, "runs").try_acquire(holder)
        roles = await read_lock_status(holder, LOCK, "worker-")
        assert roles.keys() == {"runs", "tasks"}
        runs = roles["runs"].holder
        assert runs is not None
        assert runs.process.startswith(f"{os.getpid()}.")
        assert (runs.backend, roles["runs"].standing_by) == (holder.info.backend_pid, 1)
        assert (roles["tasks"].holder, roles["tasks"].standing_by) == (None, 1)
        assert (await read_lock_status(holder, LOCK + 1, "worker-"))["runs"].holder is None
        assert (await read_lock_status(holder, LOCK, "worker-")).get("timers", NOBODY) == NOBODY


def test_a_session_name_keeps_the_process_where_the_host_is_cut_off() -> None:
    assert name_session("x" * 40).startswith(f"{'x' * 40}@{os.getpid()}.")
    assert len(name_session("é" * 40).encode()) <= 63
