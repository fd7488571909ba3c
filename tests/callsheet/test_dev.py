"""`callsheet dev` as a real process: what outlives a kill, how it stops, and what it says when it cannot start."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import psycopg
import pytest

from callsheet.development_secret import development_secret
from gateway.identity.development_tokens import sign_development_token

WORKSPACE = uuid4()
REVIEW = {
    "nodes": [
        {"id": "draft", "kind": "prompt", "config": {"model": "openai/default", "template": "Hello {{ inputs.name }}"}},
        {"id": "review", "kind": "human", "config": {"assignees": [{"role": "owner"}]}},
        {"id": "sent", "kind": "transform", "config": {"expression": "steps.draft.output"}},
    ],
    "edges": [{"from": "draft", "to": "review"}, {"from": "review", "to": "sent"}],
}


class Dev:
    """A running process, and a client that it lets in."""

    def __init__(self, process: subprocess.Popen[str], client: httpx2.Client, said: dict[str, Any]) -> None:
        """Keep them, and what the process said when it was there."""
        self.process = process
        self.client = client
        self.said = said

    def post(self, path: str, body: dict[str, Any], **headers: str) -> dict[str, Any]:
        answer = self.client.post(path, json=body, headers=headers)
        assert answer.is_success, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def follow(self, run_id: str, topic: str) -> None:
        """Follow the events of a run until one is of the topic."""
        headers = {"accept": "text/event-stream"}
        with self.client.stream("GET", f"/v1/runs/{run_id}/events", headers=headers) as stream:
            assert any(line == f"event: {topic}" for line in stream.iter_lines())

    def run(self, run_id: str, position: str) -> dict[str, Any]:
        answer = self.client.get(f"/v1/runs/{run_id}", headers={"callsheet-min-position": position})
        document: dict[str, Any] = answer.raise_for_status().json()
        return document


def environ(conninfo: str, directory: Path) -> dict[str, str]:
    theirs = ("CALLSHEET_", "OPENAI_", "ANTHROPIC_")
    ours = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
    return {
        **ours,
        "DATABASE_URL": conninfo,
        "CALLSHEET_DATA_DIRECTORY": str(directory),
        "CALLSHEET_IDENTITY_DEVELOPMENT_TOKENS": "true",
    }


@contextmanager
def dev(conninfo: str, directory: Path, **variables: str) -> Generator[Dev]:
    process = subprocess.Popen(
        [sys.executable, "-m", "callsheet", "dev", "--port", "0"],
        env={**environ(conninfo, directory), **variables},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said = _serving(process)
        url = str(said["url"])
        token = sign_development_token(
            development_secret(directory).reveal().encode(),
            workspace_claim="workspace",
            workspace_id=WORKSPACE,
            user_id="usr_ada",
            now=datetime.now(UTC),
            lasts=timedelta(hours=1),
        )
        with httpx2.Client(base_url=url, headers={"authorization": f"Bearer {token}"}, timeout=30) as client:
            yield Dev(process, client, said)
    finally:
        process.kill()
        process.communicate()


def _serving(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stderr is not None
    said: list[str] = []
    for line in process.stderr:
        said.append(line)
        event: dict[str, Any] = json.loads(line) if line.startswith("{") else {}
        if event.get("event") == "callsheet.serving":
            return event
    raise AssertionError("".join(said))


@pytest.mark.parametrize(
    ("variables", "models"),
    [({"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}, "scripted (no key is set)"), ({"OPENAI_API_KEY": "k"}, "openai")],
)
def test_it_says_who_answers_prompts(database: str, tmp_path: Path, variables: dict[str, str], models: str) -> None:
    with dev(database, tmp_path, **variables) as first:
        assert first.said["models"] == models


def test_a_kill_loses_nothing_and_the_run_goes_on_in_the_next_process(database: str, tmp_path: Path) -> None:
    with dev(database, tmp_path) as first:
        project = first.post("/v1/projects", {"name": "Launch"})
        workflow = first.post(f"/v1/projects/{project['id']}/workflows", {"name": "Review", **REVIEW})
        started = first.post(f"/v1/workflows/{workflow['id']}:run", {"inputs": {"name": "Ada"}})
        first.follow(started["id"], "step.waiting")
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
    with dev(database, tmp_path) as second:
        second.post(f"/v1/runs/{started['id']}/steps/review:complete", {"outcome": "approve"})
        stream = {"accept": "text/event-stream"}
        events = second.client.get(f"/v1/runs/{started['id']}/events", headers=stream).text
        last = [line.removeprefix("id:").strip() for line in events.splitlines() if line.startswith("id:")][-1]
        assert second.run(started["id"], last)["status"] == "completed"
        with psycopg.connect(database) as connection:
            topics = connection.execute(
                "select topic from events where topic like 'step.%' or topic like 'run.%' order by notification_id"
            ).fetchall()
    assert [topic for (topic,) in topics] == [
        "run.started",
        *("step.started", "step.completed", "step.started", "step.waiting"),
        *("step.decided", "step.completed", "step.started", "step.completed", "run.completed"),
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_in_order_even_while_a_stream_is_open(database: str, tmp_path: Path, number: signal.Signals) -> None:
    with dev(database, tmp_path) as running:
        project = running.post("/v1/projects", {"name": "Launch"})
        workflow = running.post(f"/v1/projects/{project['id']}/workflows", {"name": "Review", **REVIEW})
        started = running.post(f"/v1/workflows/{workflow['id']}:run", {"inputs": {"name": "Ada"}})
        headers = {"accept": "text/event-stream"}
        with running.client.stream("GET", f"/v1/runs/{started['id']}/events", headers=headers) as stream:
            assert stream.status_code == 200
            running.process.send_signal(number)
            assert "run.started" in "".join(stream.iter_text())
        assert running.process.wait(timeout=60) == 0


def test_a_taken_port_is_said_in_one_line(database: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = subprocess.run(
            [sys.executable, "-m", "callsheet", "dev", "--port", port],
            env=environ(database, tmp_path),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 2
    assert f"cannot listen on 127.0.0.1 port {port}" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_variable_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "callsheet", "dev"],
        env={**environ("", tmp_path), "CALLSHEET_HTTP_PORT": "http"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert "CALLSHEET_HTTP_PORT" in ended.stderr


def test_a_data_directory_that_cannot_be_made_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = subprocess.run(
        [sys.executable, "-m", "callsheet", "dev"],
        env=environ("", tmp_path / "file" / "below"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert "CALLSHEET_DATA_DIRECTORY" in ended.stderr
    assert "Traceback" not in ended.stderr
