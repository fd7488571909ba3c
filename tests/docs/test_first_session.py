"""The session in the README works: its commands run in a shell against a real server."""

import os
import re
import shlex
import shutil
import sys
from asyncio import create_subprocess_exec, timeout
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import pytest

from callsheet.demo.server import start_server

TOP = Path(__file__).parents[2]
SECONDS_MAX = 60
UNTIL_IT_WAITS = """
until curl -sS "$API/runs/$RUN/events" -H "Authorization: Bearer $TOKEN" | grep -q step.waiting; do :; done
"""


FOLLOW_SECONDS = 3


def read_typed_blocks() -> list[str]:
    """Return the shell blocks of the session."""
    session = (TOP / "README.md").read_text().split("## Start a run over HTTP")[1].split("\n## ")[0]
    return find_blocks(session)


def find_blocks(text: str) -> list[str]:
    """Return the shell blocks of a page."""
    return re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


async def run_script(script: str, environ: dict[str, str]) -> str:
    shell = await create_subprocess_exec(
        "bash", "-euo", "pipefail", "-c", script, cwd=TOP, env=environ, stdout=PIPE, stderr=STDOUT
    )
    async with timeout(SECONDS_MAX):
        said, _ = await shell.communicate()
    assert shell.returncode == 0, said.decode()
    return said.decode()


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
async def test_the_first_session_of_the_readme_ends_with_a_completed_run(database: str, tmp_path: Path) -> None:
    serve, begin, follow, decide = read_typed_blocks()
    assert serve == "make dev\n"
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")},
        "DATABASE_URL": database,
        "CALLSHEET_DATA_DIRECTORY": str(tmp_path),
    }
    async with start_server(environ) as url:
        # The stream is followed last, so that it ends by itself.
        script = (begin + UNTIL_IT_WAITS + decide + "\n" + follow).replace("http://localhost:8000", url)
        said = await run_script(
            script.replace(".venv/bin/callsheet", f"{shlex.quote(sys.executable)} -m callsheet"), environ
        )
        follow_run, follow_project, replay, ticket = find_blocks((TOP / "docs" / "streams.md").read_text())
        followed = f"{follow_run}\ntimeout {FOLLOW_SECONDS} {follow_project.strip()} || true\n{replay}{ticket}"
        streams = await run_script(
            (begin + UNTIL_IT_WAITS + decide + "\n" + followed)
            .replace("http://localhost:8000", url)
            .replace(".venv/bin/callsheet", f"{shlex.quote(sys.executable)} -m callsheet"),
            environ,
        )
    assert streams.count("event: run.completed") == 3
    assert '{"ticket":"tkt_' in streams
    assert "event: step.decided" in said
    assert "event: run.completed" in said
