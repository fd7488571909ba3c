"""Processes of the command line that share a database, as they are started by hand, and a client of their gateway."""

import json
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import UUID

import httpx2

from callsheet.development_secret import development_secret
from gateway.identity.development_tokens import sign_development_token
from tests.callsheet.test_dev import environ

WORKSPACE = UUID("0192f000-0000-7000-8000-00000000000a")
READY = ("callsheet.serving", "callsheet.working")


class Started:
    """A process that is ready, and where it serves and is administered, if it is."""

    def __init__(self, process: subprocess.Popen[str], said: list[str]) -> None:
        """Keep what it printed until it was ready, and continue to read its output, so that it never blocks."""
        ready: dict[str, Any] = json.loads(said[-1])
        self.process = process
        self.url: str | None = ready.get("url")
        self.admin: str | None = ready.get("admin")
        self.said = said
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def end(self) -> None:
        """Kill it if it still runs, and wait until it and all that it said are read."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.said.extend(self.process.stderr)


@contextmanager
def apart(conninfo: str, directory: Path, *arguments: str, **variables: str) -> Generator[Started]:
    """Run `callsheet` with arguments for as long as the block lasts; it is killed at the end, if it still runs."""
    with program(conninfo, directory, "-m", "callsheet", *arguments, **variables) as started:
        yield started


@contextmanager
def program(conninfo: str, directory: Path, *arguments: str, **variables: str) -> Generator[Started]:
    """Run Python with arguments, until it says that it is ready."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env={**environ(conninfo, directory), **variables},
        stderr=subprocess.PIPE,
        text=True,
    )
    started = Started(process, _read_until_ready(process))
    try:
        yield started
    finally:
        started.end()


def _read_until_ready(process: subprocess.Popen[str]) -> list[str]:
    """Return what the process printed until it was ready. Raises AssertionError if it ended before."""
    assert process.stderr is not None
    said: list[str] = []
    for line in process.stderr:
        said.append(line)
        event: dict[str, Any] = json.loads(line) if line.startswith("{") else {}
        if event.get("event") in READY:
            return said
    process.wait()
    process.stderr.close()
    raise AssertionError("".join(said))


@contextmanager
def gateway(serving: Started, directory: Path) -> Generator["Gateway"]:
    """Yield a client with a valid token for the gateway."""
    made = Gateway(serving, directory)
    with made.client:
        yield made


def create_token(directory: Path) -> str:
    """Return a token that is valid at the gateways of a data directory."""
    return sign_development_token(
        development_secret(directory).reveal().encode(),
        workspace_claim="workspace",
        workspace_id=WORKSPACE,
        user_id="usr_ada",
        now=datetime.now(UTC),
        lasts=timedelta(hours=1),
    )


class Gateway:
    """A client of a gateway, and the position of the last thing that it did."""

    def __init__(self, serving: Started, directory: Path) -> None:
        """Create the client; `gateway` closes it too."""
        assert serving.url is not None
        headers = {"authorization": f"Bearer {create_token(directory)}"}
        self.client = httpx2.Client(base_url=serving.url, headers=headers, timeout=60)
        self.position = ""

    def post(self, path: str, body: dict[str, Any], **headers: str) -> dict[str, Any]:
        answer = self.client.post(path, json=body, headers=headers)
        assert answer.is_success, answer.text
        self.position = answer.headers["callsheet-position"]
        document: dict[str, Any] = answer.json()
        return document

    def workflow(self, graph: dict[str, Any]) -> str:
        """Create a workflow in a project of its own."""
        project = self.post("/v1/projects", {"name": "Launch"})
        return str(self.post(f"/v1/projects/{project['id']}/workflows", {"name": "Flow", **graph})["id"])

    def run(self, run_id: str, position: str) -> dict[str, Any]:
        """Read a run once the read model has come to a position."""
        answer = self.client.get(f"/v1/runs/{run_id}", headers={"callsheet-min-position": position})
        document: dict[str, Any] = answer.raise_for_status().json()
        return document
