"""The server that `bench runs` measures: real processes of `callsheet`, and a workflow of three steps in them."""

import itertools
import os
import secrets
import socket
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx2
from msgspec import Struct
from uuid_utils.compat import uuid7

from bench.harness.processes import CpuClock
from bench.harness.started import CallsheetProcess, ServerFailed, start_process
from gateway.identity.development_tokens import sign_development_token
from gateway.settings import IdentitySettings

HOST: Final = "127.0.0.1"
WAIT_SECONDS: Final = 10
FOREIGN: Final = ("CALLSHEET_", "OPENAI_", "PG", "DATABASE_URL", "NATS_")
"""Prefixes of shell variables that would change the result."""


def chain(steps: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Return a graph of chained steps that do nothing, so that only the cost of a step is measured."""
    return {
        "nodes": [{"id": step, "kind": "transform", "name": step, "config": {}} for step in steps],
        "edges": [{"from": step, "to": following} for step, following in itertools.pairwise(steps)],
    }


def chain_of_attempts(steps: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Return a graph of chained `prompt` steps that the scripted provider answers; each uses the answer before it."""
    sources = ("inputs.brief", *(f"steps.{step}.output" for step in steps[:-1]))
    nodes = [
        {
            "id": step,
            "kind": "prompt",
            "name": step,
            "config": {"model": "scripted/bench", "template": f"Improve this: {{{{ {source} }}}}"},
        }
        for step, source in zip(steps, sources, strict=True)
    ]
    return {**chain(steps), "nodes": nodes}


STEPS: Final = ("first", "second", "third")

Commands = tuple[tuple[str, ...], ...]
TOGETHER: Final[Commands] = (("dev",),)
PROJECTIONS_APART: Final[Commands] = (("serve", "--engine"), ("project",))
APART: Final[Commands] = (("serve",), ("work",), ("project",))

INPUT: Final = '{"inputs":{"brief":"One page, two readers, three drafts."}}'


class Server(Struct, frozen=True, kw_only=True):
    """A ready server, the request that runs the workflow, and the CPU clocks of its processes."""

    port: int
    token: str
    secret: str
    workflow_id: str
    run_request: str
    clocks: tuple[CpuClock, ...]


@contextmanager
def serve_workflow(
    conninfo: str,
    directory: Path,
    graph: Mapping[str, Any] | None = None,
    commands: Commands = TOGETHER,
    *,
    scope: str | None = None,
    before: Server | None = None,
) -> Generator[Server]:
    """Run a server with one workflow (the three steps) over a database for a block's length. Raises ServerFailed.

    `commands` are its processes: one (`TOGETHER`), two (`PROJECTIONS_APART`) or three (`APART`). The first listens.
    `scope` is that of its token; None: all but the privileged ones.
    It accepts the token of a server `before`, if there was one.
    """
    secret = secrets.token_urlsafe(48) if before is None else before.secret
    port = _free_port()
    environment = build_environment(conninfo, directory, secret)
    gateway, *others = commands
    listening = (*gateway, "--host", HOST, "--port", str(port))
    processes = [start_process(command, environment, directory) for command in (listening, *others)]
    try:
        token = _token(secret, scope) if before is None else before.token
        _await_ready(processes[0], port)
        for process in processes[1:]:
            process.wait_until(process.is_working)
        workflow_id = _workflow(port, token, graph or chain(STEPS))
        yield Server(
            port=port,
            token=token,
            secret=secret,
            workflow_id=workflow_id,
            run_request=_run_request(port, token, workflow_id),
            clocks=tuple(process.clock for process in processes),
        )
    finally:
        for process in processes:
            process.stop()


def build_environment(conninfo: str, directory: Path, secret: str) -> dict[str, str]:
    """Return the environment of a `callsheet` process: the shell's, without variables that change the result."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return {
        **kept,
        "DATABASE_URL": conninfo,
        "CALLSHEET_DATA_DIRECTORY": str(directory / "callsheet"),
        "CALLSHEET_IDENTITY_JWT_SECRET": secret,
        "CALLSHEET_IDENTITY_DEVELOPMENT_TOKENS": "true",
        # One credential sends all of the load; its requests are counted and leased like any other's.
        **{f"CALLSHEET_LIMIT_{of}_PER_SECOND": "100000" for of in ("WORKSPACE", "CREDENTIAL")},
        **{f"CALLSHEET_LIMIT_{of}_BURST": "1000000" for of in ("WORKSPACE", "CREDENTIAL")},
    }


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return int(listener.getsockname()[1])


def _token(secret: str, scope: str | None) -> str:
    return sign_development_token(
        secret.encode(),
        workspace_claim=IdentitySettings().workspace_claim,
        workspace_id=uuid7(),
        user_id="usr_bench",
        now=datetime.now(UTC),
        lasts=timedelta(hours=2),
        scope=scope,
    )


def _await_ready(process: CallsheetProcess, port: int) -> None:
    def answers() -> bool:
        try:
            return httpx2.get(f"http://{HOST}:{port}/readyz").is_success
        except httpx2.TransportError:
            return False

    process.wait_until(answers)


def _workflow(port: int, token: str, graph: Mapping[str, Any]) -> str:
    """Create a project with the workflow; return the workflow's id."""
    with httpx2.Client(base_url=f"http://{HOST}:{port}", headers={"Authorization": f"Bearer {token}"}) as client:
        project = _read_created(client.post("/v1/projects", json={"name": "bench"}))
        body = {"name": "a chain of steps", **graph}
        answer = client.post(f"/v1/projects/{project['id']}/workflows", json=body)
        workflow_id = str(_read_created(answer)["id"])
        # What is measured reads it later: it has to be there for readers, too.
        position = {"callsheet-min-position": answer.headers["callsheet-position"]}
        _read_created(client.get(f"/v1/workflows/{workflow_id}", headers=position))
        return workflow_id


def _read_created(response: httpx2.Response) -> dict[str, Any]:
    if not response.is_success:
        raise ServerFailed(f"{response.request.url} was answered with {response.status_code}: {response.text}")
    return response.json()


def _run_request(port: int, token: str, workflow_id: str) -> str:
    """Write the request by hand (HTTP/1.1, RFC 9112): it is the same each time."""
    return (
        f"POST /v1/workflows/{workflow_id}:run HTTP/1.1\r\n"
        f"Host: {HOST}:{port}\r\n"
        f"Authorization: Bearer {token}\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(INPUT)}\r\n"
        f"Prefer: wait={WAIT_SECONDS}\r\n"
        "\r\n"
        f"{INPUT}"
    )
