"""The page on streams: its table of messages is generated, and its clients run as they stand there."""

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

import httpx2
import pytest

from callsheet.settings.load import Settings
from callsheet.wiring.core import COMPONENTS
from gateway.streams.messages_page import PAGE, render_page
from store.postgres.migrations import migrate
from tests.support.gateway.given import HUMAN, TRANSFORM_CHAIN, Caller, new_id, serving, sign_token

CLIENT_LINES_MAX: Final = 21
CLIENT_SECONDS_MAX: Final = 30


def read_clients() -> dict[str, str]:
    """Return the programs of the page by their channels."""
    programs = re.findall(r"^```py\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return {re.findall(r'"channel": "(\w+)", "event": "subscribe"', program)[0]: program for program in programs}


def test_the_table_of_messages_is_up_to_date() -> None:
    assert PAGE.read_text() == render_page(PAGE.read_text()), "run: python -m gateway.streams.messages_page"


def test_each_channel_has_a_short_client() -> None:
    lengths = {
        channel: len([line for line in program.splitlines() if line and not line.startswith("#")])
        for channel, program in read_clients().items()
    }
    assert set(lengths) == set(EXPECTED)
    assert max(lengths.values()) <= CLIENT_LINES_MAX, lengths


async def run_a_workflow(ada: Caller, project_id: str) -> None:
    workflow = await ada.workflow(TRANSFORM_CHAIN, project_id)
    await ada.post(f"/v1/workflows/{workflow['id']}:run", {"inputs": {}})


async def wait_for_a_person(ada: Caller, project_id: str) -> None:
    workflow = await ada.workflow(HUMAN, project_id)
    await ada.post(f"/v1/workflows/{workflow['id']}:run", {"inputs": {}})


async def announce(ada: Caller, _project_id: str) -> None:
    admin = ada.as_user(ada.user_id, scope="announcements:write")
    await admin.post("/v1/announcements", {"title": "Maintenance"})


async def do_nothing(_ada: Caller, _project_id: str) -> None:
    """Leave the client alone in the project."""


EXPECTED: Final[Mapping[str, tuple[Callable[[Caller, str], Awaitable[None]], str]]] = {
    "runs": (run_a_workflow, "run.completed completed"),
    "tasks": (wait_for_a_person, "task.waiting run_"),
    "announcements": (announce, "announcement.published Maintenance"),
    "presence": (do_nothing, '"user_id": "usr_ada"'),
}


async def read_until(program: str, environ: Mapping[str, str], expected: str) -> None:
    """Run a program until it prints what is expected."""
    client = await asyncio.create_subprocess_exec(sys.executable, "-c", program, env=environ, stdout=PIPE, stderr=PIPE)
    assert client.stdout is not None
    printed = ""
    try:
        async with asyncio.timeout(CLIENT_SECONDS_MAX):
            while expected not in printed:
                line = await client.stdout.readline()
                if not line:
                    raise AssertionError((await client.communicate())[1].decode())
                printed += line.decode()
    finally:
        if client.returncode is None:
            client.kill()
        await client.communicate()


@pytest.mark.parametrize("channel", EXPECTED)
async def test_the_client_of_a_channel_prints_what_happens(database: str, channel: str, tmp_path: Path) -> None:
    await migrate(database, COMPONENTS)
    async with serving(database, Settings()) as server, httpx2.AsyncClient(base_url=server.url, timeout=30) as client:
        ada = Caller(client=client, workspace_id=new_id(), user_id="usr_ada")
        project = await ada.project()
        act, expected = EXPECTED[channel]
        await act(ada, project["id"])
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "API": f"{server.url}/v1",
            "TOKEN": sign_token(ada.workspace_id, ada.user_id),
            "PROJECT": project["id"],
        }
        await read_until(read_clients()[channel], environ, expected)
