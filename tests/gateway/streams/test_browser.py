"""A page in a real browser: it opens the WebSocket with a ticket, is cut off, resumes, and has every event."""

import asyncio
import json
import shutil
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Any, Final

import pytest

from callsheet.server.websocket import BoundedWebSocket
from gateway.streams.channels.runs import RUN_TOPICS
from tests.support.gateway.given import TRANSFORM_CHAIN, Caller, Environment, sign_token
from tests.support.servers.node import NODE, install_node_packages

BROWSER: Final = Path(__file__).parents[2] / "support" / "gateway" / "browser"
BROWSER_SECONDS_MAX: Final = 120


async def start_browser(environment: Environment, ada: Caller, project_id: str) -> Process:
    await asyncio.to_thread(install_node_packages, BROWSER)
    config = {
        "page": f"{environment.url}/docs",  # of the server's own origin
        "api": environment.url,
        "token": sign_token(ada.workspace_id, ada.user_id),
        "project": project_id,
    }
    return await asyncio.create_subprocess_exec(
        NODE, BROWSER / "follow.mjs", json.dumps(config), stdin=PIPE, stdout=PIPE, stderr=PIPE
    )


async def expect_line(browser: Process, line: str) -> None:
    assert browser.stdout is not None
    read = (await browser.stdout.readline()).decode().strip()
    if read != line:
        assert browser.stderr is not None
        raise AssertionError((read, (await browser.stderr.read()).decode()))


async def run_workflow(ada: Caller, workflow_id: str) -> None:
    await ada.post(f"/v1/workflows/{workflow_id}:run", {"inputs": {}}, headers={"prefer": "wait=20"})


@pytest.mark.skipif(shutil.which("uname") is None, reason="the packaged Chromium is for Linux")
async def test_a_page_that_is_cut_off_resumes_and_has_every_event(ada: Caller, environment: Environment) -> None:
    workflow = await ada.workflow(TRANSFORM_CHAIN)
    await run_workflow(ada, workflow["id"])
    browser = await start_browser(environment, ada, workflow["project_id"])
    assert browser.stdin is not None
    try:
        async with asyncio.timeout(BROWSER_SECONDS_MAX):
            await expect_line(browser, "following")
            await run_workflow(ada, workflow["id"])
            for connection in list(environment.server.server_state.connections):
                if isinstance(connection, BoundedWebSocket):
                    connection.transport.abort()
            await run_workflow(ada, workflow["id"])
            browser.stdin.write(b"cut\n")
            await expect_line(browser, "resumed")
            await run_workflow(ada, workflow["id"])
            path = f"/v1/projects/{workflow['project_id']}/events?limit=200"
            items: list[dict[str, Any]] = (await ada.get(path)).json()["items"]
            log = [[item["id"], item["type"]] for item in items if item["type"] in RUN_TOPICS]
            browser.stdin.write(f"{log[-1][0]}\n".encode())
            await expect_line(browser, json.dumps(log, separators=(",", ":")))
            assert await browser.wait() == 0
    finally:
        if browser.returncode is None:
            browser.kill()
            await browser.wait()
