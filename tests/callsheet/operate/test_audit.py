"""`callsheet audit`: a key, a sealed log, its verification, and exports that a stranger's program checks."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from domain.ids import from_uuid
from store.seals.notes import SignerKey
from tests.support.callsheet.operate import migrate_database, project_with_names, run_callsheet, run_callsheet_json
from tests.support.callsheet.separate_processes import apart
from tests.support.waiting import eventually

VERIFIER = Path(__file__).parents[3] / "examples" / "verify_export.py"
EVENTS = 300


class SealedLog:
    """A database whose log a real process has sealed, and the key."""

    def __init__(self, database: str, directory: Path) -> None:
        """Append events, and run a process that seals them all."""
        self.database = database
        made = run_callsheet(database, "audit", "key")
        self.key_file = directory / "seal.key"
        self.key_file.write_text(made.stdout)
        self.signer = SignerKey.parse(made.stdout)
        self.key = self.signer.verifier.format()
        assert self.key in made.stderr
        self.projects = [
            project_with_names(migrate_database(database), *(f"name {number}" for number in range(EVENTS // 3)))
            for _ in range(3)
        ]
        with apart(database, directory, "project", CALLSHEET_SEAL_KEY_FILE=str(self.key_file)):
            asyncio.run(eventually(self.is_sealed, what="every event is sealed", seconds=60))

    async def is_sealed(self) -> bool:
        async with await psycopg.AsyncConnection.connect(self.database) as connection:
            return await (await connection.execute("select size from seal_head")).fetchone() == (EVENTS,)


@pytest.fixture
def log(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SealedLog:
    monkeypatch.setenv("CALLSHEET_DATA_DIRECTORY", str(tmp_path))
    return SealedLog(database, tmp_path)


def check_export(file: Path, *keys: str) -> subprocess.CompletedProcess[str]:
    """Run the independent verifier, which knows nothing of Callsheet."""
    options = [option for key in keys for option in ("--key", key)]
    return subprocess.run(
        [sys.executable, "-I", str(VERIFIER), str(file), *options], capture_output=True, text=True, check=False
    )


def test_a_log_is_sealed_verified_exported_and_checked_by_a_strangers_program(log: SealedLog, tmp_path: Path) -> None:
    found = run_callsheet_json(log.database, "audit", "verify", "--key", log.key)
    assert (found["divergences"], found["checked"], found["unsealed"]) == ([], EVENTS, 0)
    assert "Everything is as it was sealed." in run_callsheet(log.database, "audit", "verify", "--key", log.key).stdout
    project = from_uuid("prj", log.projects[1])
    for name, options, events in (("whole", (), EVENTS), ("project", ("--project", project), EVENTS // 3)):
        file = tmp_path / f"{name}.jsonl"
        assert run_callsheet(log.database, "audit", "export", *options, str(file)).exit_code == 0
        done = check_export(file, log.key)
        assert (done.returncode, f"{events} events are as they were sealed" in done.stdout) == (0, True), done
    again = run_callsheet(log.database, "audit", "export", str(tmp_path / "whole.jsonl"))
    assert (again.exit_code, "exists" in again.stderr) == (2, True)


def test_every_edit_of_an_export_is_found(log: SealedLog, tmp_path: Path) -> None:
    project = from_uuid("prj", log.projects[1])
    stranger = SignerKey("callsheet", bytes(32)).verifier.format()
    for options in ((), ("--project", project)):
        file = tmp_path / f"export-{len(options)}.jsonl"
        assert run_callsheet(log.database, "audit", "export", *options, str(file)).exit_code == 0
        lines = file.read_text().splitlines(keepends=True)
        edited = tmp_path / "edited.jsonl"
        edits: dict[str, list[str]] = {
            "a changed name": [*lines[:5], lines[5].replace("name", "nome"), *lines[6:]],
            "a removed end": lines[:-1],
            "half a file": lines[: len(lines) // 2],
            "an event left out": [*lines[:5], *lines[6:-1], lines[-1]],
            "an event twice": [*lines[:5], lines[5], *lines[5:]],
            "swapped events": [*lines[:5], lines[6], lines[5], *lines[7:]],
            "a line more": [*lines, lines[-2]],
            "another size": [lines[0].replace(f"\\n{EVENTS}\\n", f"\\n{EVENTS - 1}\\n"), *lines[1:]],
        }
        for name, text in edits.items():
            edited.write_text("".join(text))
            done = check_export(edited, log.key)
            assert (done.returncode, "NOT as sealed" in done.stdout) == (1, True), (name, done)
        assert check_export(file, stranger).returncode == 1
        assert check_export(file, "nonsense").returncode == 2


def test_an_edited_log_is_reported_with_its_position_and_exit_code_1(log: SealedLog) -> None:
    with psycopg.connect(log.database, autocommit=True) as connection:
        connection.execute("update events set topic = 'project.created' where notification_id = 42")
    done = run_callsheet(log.database, "audit", "verify", "--key", log.key)
    assert done.exit_code == 1
    assert "NOT as sealed: position 42: the event differs from what was sealed" in done.stdout


def test_what_cannot_be_used_is_refused_with_what_to_do(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate_database(database)
    nothing = run_callsheet(database, "audit", "export", str(tmp_path / "x.jsonl"))
    assert (nothing.exit_code, "CALLSHEET_SEAL_KEY_FILE" in nothing.stderr) == (3, True)
    assert not (tmp_path / "x.jsonl").exists()
    bad: dict[str, Any] = run_callsheet_json(
        database, "audit", "verify", "--key", SignerKey("a", bytes(32)).verifier.format()
    )
    assert "nothing is sealed" in json.dumps(bad)
    assert "a verifier key is" in run_callsheet(database, "audit", "verify", "--key", "x").stderr
    empty = tmp_path / "empty.key"
    for text, said in (("", "has no key"), ("PRIVATE+KEY+a+b+c", "cannot be used")):
        empty.write_text(text)
        monkeypatch.setenv("CALLSHEET_SEAL_KEY_FILE", str(empty))
        done = run_callsheet(database, "audit", "verify")
        assert (done.exit_code, said in done.stderr) == (2, True), done.stderr
