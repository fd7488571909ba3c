"""A process whose database dies or hangs: the embedded one is started again, and SIGTERM ends the process in time."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.support.callsheet.separate_processes import apart, gateway
from tests.support.servers.postgres import PostgresForTests

STARTED_SECONDS_MAX = 30.0
GRACE_SECONDS_MAX = 15.0
"""The default of `CALLSHEET_HTTP_SHUTDOWN_SECONDS_MAX` (10), and what the parts need to end."""


def test_an_embedded_postgresql_that_is_killed_is_started_again(tmp_path: Path) -> None:
    with apart("", tmp_path, "dev", "--port", "0") as dev, gateway(dev, tmp_path) as here:
        project = here.post("/v1/projects", {"name": "Launch"})
        pid_file = tmp_path / "postgres-18" / "data" / "postmaster.pid"
        postmaster = int(pid_file.read_text().splitlines()[0])
        os.kill(postmaster, signal.SIGKILL)
        deadline = time.monotonic() + STARTED_SECONDS_MAX
        while not any('"embedded.restarted"' in line for line in dev.said):
            assert time.monotonic() < deadline, "".join(dev.said)
            time.sleep(0.1)
        while here.client.post("/v1/projects", json={"name": "Next"}).status_code != 201:
            assert time.monotonic() < deadline, "".join(dev.said)
            time.sleep(0.1)
        kept = here.client.get(f"/v1/projects/{project['id']}", headers={"callsheet-min-position": here.position})
        assert kept.is_success
        dev.process.send_signal(signal.SIGTERM)
        assert dev.process.wait(timeout=60) == 0, "".join(dev.said)


@pytest.mark.parametrize(
    "command",
    [("dev", "--port", "0"), *(pytest.param((each,), marks=pytest.mark.long) for each in ("work", "project"))],
    ids=lambda each: each[0],
)
def test_a_process_ends_in_time_while_its_database_hangs(
    command: tuple[str, ...], own_postgres: PostgresForTests, tmp_path: Path
) -> None:
    with apart(own_postgres.conninfo, tmp_path, *command) as started:
        stopped = own_postgres.list_processes()
        for process in stopped:
            os.kill(process, signal.SIGSTOP)
        try:
            began_at = time.monotonic()
            started.process.send_signal(signal.SIGTERM)
            started.process.wait(timeout=60)
            took = time.monotonic() - began_at
        finally:
            for process in stopped:
                os.kill(process, signal.SIGCONT)
        assert took < GRACE_SECONDS_MAX, f"{took:.1f} s: {''.join(started.said)}"
