"""The other anchor: PostgreSQL's own pgbench, inserting one row of the same size a transaction."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import psycopg
from msgspec import Struct

from bench.append.event import METADATA_TEXT, STATE, TOPIC
from callsheet.embedded.programs import EmbeddedUnusable, find_programs

CLIENTS: Final = (1, 8, 32)
THREADS_MAX: Final = 2

TABLE: Final = """
create table if not exists single_rows (
    notification_id     bigint generated always as identity primary key,
    originator_id       uuid not null,
    originator_version  bigint not null,
    workspace_id        uuid not null,
    project_id          uuid not null,
    recorded_at         timestamptz not null default clock_timestamp(),
    topic               text not null,
    metadata            json not null,
    state               bytea not null
)
"""
SCRIPT: Final = (
    "insert into single_rows (originator_id, originator_version, workspace_id, project_id, topic, metadata, state) "  # noqa: S608  # constants of ours, for a program that takes a file
    "values (gen_random_uuid(), 1, '00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000002', "
    f"'{TOPIC}', '{METADATA_TEXT}', '\\x{STATE.hex()}');\n"
)


class PgbenchFigures(Struct, frozen=True, kw_only=True):
    """Figures of pgbench at one number of clients; it reports only the mean latency."""

    clients: int
    appends_per_second: float
    mean_ms: float


def find_pgbench(directory: Path) -> Path | None:
    """Find pgbench: the wheel's, else the system's, else none."""
    try:
        return find_programs(18, directory).folder / "pgbench"
    except EmbeddedUnusable:
        found = shutil.which("pgbench")
        return None if found is None else Path(found)


def prepare(conninfo: str) -> None:
    """Create the table: one index fewer than ours, no head row, no order, so the comparison is in its favour."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(TABLE)


def measure(pgbench: Path, conninfo: str, clients: int, seconds: float) -> PgbenchFigures:
    """Run pgbench with prepared statements for whole seconds, at least one."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(SCRIPT)
        script.flush()
        done = subprocess.run(  # noqa: S603  # PostgreSQL's own program, arguments made here
            [
                str(pgbench), "--no-vacuum", "--protocol=prepared", f"--client={clients}",
                f"--jobs={min(clients, THREADS_MAX)}", f"--time={max(1, round(seconds))}", f"--file={script.name}",
                conninfo,
            ],
            check=True,
            capture_output=True,
            env={name: value for name, value in os.environ.items() if not name.startswith("PG")},
            text=True,
        )  # fmt: skip
    return PgbenchFigures(
        clients=clients,
        appends_per_second=round(_parse_figure(r"tps = ([0-9.]+)", done.stdout), 1),
        mean_ms=_parse_figure(r"latency average = ([0-9.]+) ms", done.stdout),
    )


def _parse_figure(pattern: str, output: str) -> float:
    match = re.search(pattern, output)
    if match is None:
        message = f"pgbench said something else than expected:\n{output}"
        raise ValueError(message)
    return float(match[1])
