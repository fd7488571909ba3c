"""The requests of the page on the API work as they are typed."""

import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from callsheet.demo.server import start_server
from tests.docs.test_first_session import TOP, run_script

PAGE = (TOP / "docs" / "api.md").read_text()
IDENTITY = PAGE.split("\n## Identity")[1].split("\n## ")[0]
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
async def test_the_requests_of_the_page_get_the_answers_that_it_shows(database: str, tmp_path: Path) -> None:
    environ = {**os.environ, "DATABASE_URL": database, "CALLSHEET_DATA_DIRECTORY": str(tmp_path)}
    async with start_server(environ) as url:
        # Each answer on a line of its own; a read after a write waits for nothing here, since `curl` starts slowly.
        script = "\n".join(BLOCKS).replace("http://localhost:8000", url).replace("curl -sS", "curl -sS -w '\\n'")
        printed = await run_script(
            script.replace(".venv/bin/callsheet", f"{shlex.quote(sys.executable)} -m callsheet"), environ
        )
    answers: list[Any] = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    created, listed, keys, revoked, refused, forbidden, repeated, changed, stale, page = answers
    assert created["team"] == [{"user_id": "usr_ana", "role": "owner"}]
    assert [project["id"] for project in listed["items"]] == [created["id"]]
    assert [key["name"] for key in keys["items"]] == ["Nightly report"]
    assert keys["items"][0]["last_used_at"] is not None
    assert revoked["status"] == "revoked"
    (shown,) = re.findall(r"^```json\n(.*?)^```", IDENTITY, re.MULTILINE | re.DOTALL)
    assert refused.items() >= json.loads(shown).items()
    assert (forbidden["status"], forbidden["code"]) == (403, "not_permitted")
    assert (repeated["id"], repeated["name"]) == (changed["id"], "Spring 2026")
    assert changed["name"] == "Summer 2026"
    assert (stale["status"], stale["code"]) == (412, "version_mismatch")
    assert page["next_cursor"] is not None
    assert "allow: GET, HEAD, POST, OPTIONS" in printed
