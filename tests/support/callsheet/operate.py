"""Shared by the tests of operator commands: a migrated database with facts, and the commands."""

import asyncio
import json
from typing import Any
from uuid import UUID

from click.testing import CliRunner, Result
from uuid_utils.compat import uuid7

from callsheet.cli import main
from callsheet.wiring.core import COMPONENTS
from domain.fact import Fact
from domain.project import ProjectCreated, ProjectRenamed
from store.postgres.migrations import migrate
from tests.support.store.given import WORKSPACE, create_append, open_log


def run_callsheet(database: str, *arguments: str) -> Result:
    """Run a command against a database in this process; what is unexpected is raised."""
    found = CliRunner().invoke(main, arguments, env={"DATABASE_URL": database}, prog_name="callsheet")
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found


def run_callsheet_json(database: str, *arguments: str) -> Any:  # noqa: ANN401  # JSON
    """Run a command with `--json`, whatever its exit code, and return what it printed."""
    return json.loads(run_callsheet(database, *arguments, "--json").stdout)


def migrate_database(database: str) -> str:
    asyncio.run(migrate(database, COMPONENTS))
    return database


def project_with_names(database: str, *names: str, workspace: UUID = WORKSPACE) -> UUID:
    """Append a project that had these names, and give its id."""
    project = uuid7()
    facts: list[Fact] = [ProjectCreated(name=names[0], owner="ada")]
    facts += [ProjectRenamed(name=name) for name in names[1:]]
    record_events(database, project, *facts, workspace=workspace)
    return project


def record_events(database: str, stream: UUID, *facts: Fact, workspace: UUID = WORKSPACE) -> None:
    """Append facts of a new stream, all at once."""

    async def append_them() -> None:
        async with open_log(database) as log:
            await log.append(create_append(stream, 0, *facts, workspace=workspace, project=stream))

    asyncio.run(append_them())


def answered_lines(database: str, *arguments: str) -> list[dict[str, Any]]:
    """Run a command with `--json` that prints a line a thing, and give them."""
    found = run_callsheet(database, *arguments, "--json")
    assert found.exit_code == 0, found.stderr
    return [json.loads(line) for line in found.stdout.splitlines()]
