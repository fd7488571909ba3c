"""`callsheet serve`, `work` and `project` as real processes on one log: each wakes the others, and stops in order."""

import signal
from pathlib import Path
from typing import Any

from tests.support.callsheet.separate_processes import Gateway, apart, gateway
from tests.support.servers.nats import NatsForTests

GRAPH: dict[str, Any] = {
    "nodes": [{"id": step, "kind": "transform", "config": {}} for step in ("a", "b", "c")],
    "edges": [{"from": "a", "to": "b"}, {"from": "b", "to": "c"}],
}


def test_a_run_goes_through_three_processes_and_is_read_from_a_fourth(database: str, tmp_path: Path) -> None:
    with (
        apart(database, tmp_path, "work"),
        apart(database, tmp_path, "project"),
        apart(database, tmp_path, "serve", "--port", "0") as serving,
        apart(database, tmp_path, "serve", "--port", "0") as other,
        gateway(serving, tmp_path) as here,
        gateway(other, tmp_path) as there,
    ):
        run = here.post(f"/v1/workflows/{here.workflow(GRAPH)}:run", {"inputs": {"n": 1}}, prefer="wait=30")
        assert run["status"] == "completed"
        read = there.run(run["id"], here.position)
        assert read["outputs"] == {"c": {"n": 1}}


def test_a_gateway_with_an_engine_runs_beside_projections(database: str, tmp_path: Path) -> None:
    with (
        apart(database, tmp_path, "serve", "--engine", "--port", "0") as serving,
        apart(database, tmp_path, "project"),
        gateway(serving, tmp_path) as here,
    ):
        run = here.post(f"/v1/workflows/{here.workflow(GRAPH)}:run", {"inputs": {"n": 1}}, prefer="wait=30")
        assert run["status"] == "completed"
        assert here.run(run["id"], here.position)["outputs"] == {"c": {"n": 1}}


def test_each_stops_in_order_when_told_to(database: str, tmp_path: Path) -> None:
    for command in (("work",), ("project",), ("serve", "--port", "0"), ("serve", "--engine", "--port", "0")):
        with apart(database, tmp_path, *command) as started:
            started.process.send_signal(signal.SIGTERM)
            assert started.process.wait(timeout=60) == 0


def test_with_nats_facts_and_deltas_of_an_engine_come_to_the_gateway_as_it_follows(
    database: str, tmp_path: Path, nats_server: NatsForTests
) -> None:
    url = {"NATS_URL": nats_server.url}
    with (
        apart(database, tmp_path, "project", **url),
        apart(database, tmp_path, "work", **url),
        apart(database, tmp_path, "serve", "--port", "0", **url) as serving,
        gateway(serving, tmp_path) as here,
    ):
        graph = {
            "nodes": [
                {"id": "wait", "kind": "delay", "config": {"seconds": 1}},
                {"id": "draft", "kind": "prompt", "config": {"model": "openai/default", "template": "Write a page."}},
            ],
            "edges": [{"from": "wait", "to": "draft"}],
        }
        run = here.post(f"/v1/workflows/{here.workflow(graph)}:run", {"inputs": {}})
        kinds = [line for line in follow_events(here, run["id"]) if line.startswith("event:")]
        assert kinds[0] == "event: run.started"
        assert kinds[-1] == "event: run.completed"
        assert "event: delta" in kinds, "what the model writes in the engine's process is read in the gateway's"


def follow_events(here: Gateway, run_id: str) -> list[str]:
    """Follow a run's event stream to its end."""
    events = here.client.stream("GET", f"/v1/runs/{run_id}/events", headers={"accept": "text/event-stream"})
    with events as answer:
        return list(answer.iter_lines())
