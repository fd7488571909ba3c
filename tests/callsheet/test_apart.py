"""`callsheet serve`, `work` and `project` as real processes on one log: each wakes the others, and stops in order."""

import signal
from pathlib import Path
from typing import Any

from tests.callsheet.apart import apart, gateway

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


def test_each_stops_in_order_when_told_to(database: str, tmp_path: Path) -> None:
    for command in (("work",), ("project",), ("serve", "--port", "0")):
        with apart(database, tmp_path, *command) as started:
            started.process.send_signal(signal.SIGTERM)
            assert started.process.wait(timeout=60) == 0
