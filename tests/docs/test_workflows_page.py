"""Every graph on the page of workflows is one that a server accepts, and the page leaves out no kind of node."""

import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any, cast, get_args

import msgspec
import pytest

from callsheet.demo.server import start_server
from domain.graphs.graph import ErrorClass, Node
from domain.graphs.references import find_raw_references
from domain.graphs.validation.check import check_graph
from domain.graphs.validation.semantics import KnownReferences
from domain.ids import to_uuid
from domain.runs.run import RunStatus
from domain.runs.steps import StepStatus
from tests.docs.test_first_session import UNTIL_IT_WAITS, run_script

PAGE = (Path(__file__).parents[2] / "docs" / "workflows.md").read_text()
JSON_BLOCK = re.compile(r"^```json\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELL_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
TYPED_GRAPH = re.compile(r"<<'EOF'\n(\{.*?^\})\nEOF", re.MULTILINE | re.DOTALL)
STATUSES = re.compile(r"^\|---\|---\|\n((?:\| .*? \|.*\n)+)", re.MULTILINE)
FIRST_CELL = re.compile(r"^\| (.*?) \|", re.MULTILINE)
UNTIL_IT_IS_READ = 'until call GET /runs/$RUN | grep -q \'"outputs":{"\'; do :; done\n'
"""Read models follow the log by a moment, which people do not notice. Steps complete before it."""
KINDS = {str(kind.__struct_config__.tag) for kind in get_args(Node)}


def read_graphs() -> list[dict[str, Any]]:
    """Return every JSON object on the page that has nodes, including those in shell blocks."""
    found = [msgspec.json.decode(text) for text in (*JSON_BLOCK.findall(PAGE), *TYPED_GRAPH.findall(PAGE))]
    objects = [cast("dict[str, Any]", value) for value in found if isinstance(value, dict)]
    return [{"nodes": value["nodes"], "edges": value.get("edges", [])} for value in objects if "nodes" in value]


def read_nodes() -> list[dict[str, Any]]:
    return [node for graph in read_graphs() for node in cast("list[dict[str, Any]]", graph["nodes"])]


def assume_known(graph: dict[str, Any]) -> KnownReferences:
    """Return everything that a graph refers to as known: the ids on the page belong to no project."""
    named = find_raw_references(graph)
    configs = [cast("dict[str, Any]", node.get("config", {})) for node in graph["nodes"]]
    sets = {to_uuid("ast", str(config["dataset_id"])) for config in configs if "dataset_id" in config}
    assets = {asset: "dataset" if asset in sets else "prompt" for asset in named.assets}
    return KnownReferences(assets=assets, workflows=named.workflows)


@pytest.mark.parametrize("graph", read_graphs(), ids=lambda graph: "-".join(node["id"] for node in graph["nodes"])[:60])
def test_a_graph_of_the_page_is_accepted(graph: dict[str, Any]) -> None:
    check_graph(graph, assume_known(graph))


def test_every_kind_of_node_has_a_graph_on_the_page() -> None:
    assert {node["kind"] for node in read_nodes()} == KINDS


def test_every_kind_of_node_has_a_heading() -> None:
    assert [kind for kind in sorted(KINDS) if f"\n### `{kind}`" not in PAGE] == []


def test_every_class_of_error_is_explained() -> None:
    assert [name for name in ErrorClass if f"| `{name}` |" not in PAGE] == []


def test_every_status_of_a_run_and_of_a_step_is_explained() -> None:
    section = PAGE.split("\n### Statuses\n")[1].split("\n### ")[0]
    of_runs, of_steps = (
        set(re.findall(r"`(\w+)`", " ".join(FIRST_CELL.findall(table)))) for table in STATUSES.findall(section)
    )
    assert of_runs == {*RunStatus} - {RunStatus.ABSENT}
    assert of_steps == {*StepStatus}


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
async def test_the_first_graph_of_the_page_is_made_run_decided_and_judged(database: str, tmp_path: Path) -> None:
    begin, make, look, follow, read, judge, share, files, calls, verbs, fail, mend = SHELL_BLOCK.findall(PAGE)
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")},
        "DATABASE_URL": database,
        "CALLSHEET_DATA_DIRECTORY": str(tmp_path),
    }
    async with start_server(environ) as url:
        decided = f"{begin}{make}{UNTIL_IT_WAITS}{look}{follow}{UNTIL_IT_IS_READ}{read}"
        script = f"{decided}{judge}{share}{files}{calls}{verbs}{fail}{mend}"
        script = script.replace("http://localhost:8000", url)
        said = await run_script(
            script.replace(".venv/bin/callsheet", f"{shlex.quote(sys.executable)} -m callsheet"), environ
        )
    assert '"status":"waiting"' in said
    assert "event: run.completed" in said
    assert '"outputs":{"final":{"tagline":"[scripted]' in said
    assert "Cannot be combined with seconds: exactly one of seconds, until and at is allowed" in said
    assert '"version":2,"content":"A dry line about {{ variables.thing }}."' in said
    assert '"team":[{"user_id":"usr_ana","role":"owner"},{"user_id":"usr_ben","role":"reviewer"}]' in said
    assert '"media_type":"image/png","bytes":8,"url":"/v1/assets/ast_' in said
    assert '"asked":{"model":"openai/default","prompt":"One tagline for a desk lamp."}' in said
    assert '"status":"cancelled"' in said
    assert '"gave":"[scripted]' in said
    assert '"outputs":{"next":"[scripted]' in said.splitlines()[-1]
    assert '"model_calls":1' in said.splitlines()[-1]
