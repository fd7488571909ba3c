"""Graphs in facts: every default is written out, and a graph without them keeps those that it was stored with."""

from typing import Any, Final, cast

import msgspec
import pytest
from msgspec import Struct

from domain.graphs.graph import Graph
from domain.graphs.stored import read_stored_graph, write_stored_graph
from domain.workflow import Workflow, WorkflowCreated, evolve
from store.log.codec import PLAIN_JSON, decode_fact, encode_fact
from tests.domain.graphs.test_check import VALID
from tests.domain.test_golden import find_losses
from tests.support.graphs import CHILD, Json, edge, graph, node, prompt

SMALLEST: Final[dict[str, Json]] = {
    "prompt": {"model": "openai/gpt-5", "template": "Hi", "messages": [{"template": "Hi"}]},
    "human": {"assignees": [{"role": "owner"}], "deadline": {"at": {"time": "09:00", "timezone": "UTC"}}},
    "transform": {},
    "http": {"url": "https://example.com"},
    "delay": {"seconds": 1},
    "map": {"workflow_id": CHILD},
    "workflow": {"workflow_id": CHILD},
    "wait": {"signal": "paid", "deadline": {"after_seconds": 60}},
    "compose": {"template": "Hi"},
    "repeat": {"workflow_id": CHILD, "until": "true", "most_rounds": 2},
}
"""The smallest config of each kind, with the parts that have defaults of their own."""

PARAMETERS: Final[Json] = {"temperature": None, "top_p": None, "max_output_tokens": None, "stop": [], "seed": None}
DEFAULTS: Final[dict[str, Json]] = {
    "prompt": {
        "asset_id": None,
        "system": None,
        "variables": {},
        "parameters": PARAMETERS,
        "output": {"format": "text"},
        "on_truncated": None,
        "messages": [{"role": "user", "template": "Hi", "parts": None}],
    },
    "human": {
        "outcomes": ["approve", "reject"],
        "instructions": None,
        "shows": {},
        "form": None,
        "deadline": {
            "after_seconds": None,
            "at": {"time": "09:00", "timezone": "UTC", "day": "any", "holidays": []},
            "then": {"action": "fail"},
        },
    },
    "transform": {"expression": None},
    "http": {"method": "GET", "headers": {}, "body": None, "most_response_bytes": 1_000_000},
    "delay": {"at": None, "until": None},
    "map": {
        "items": None,
        "dataset_id": None,
        "inputs": {},
        "concurrency": 10,
        "most_items": 10_000,
        "on_item_failure": "fail",
        "most_failed_items": None,
    },
    "workflow": {"inputs": {}},
    "wait": {"schema": None, "deadline": {"after_seconds": 60, "at": None, "then": {"action": "fail"}}},
    "compose": {"variables": {}, "format": "text"},
    "repeat": {"inputs": {}, "on_limit": "fail"},
}
"""The defaults of stored graphs that lack the field. They never change: a new default is written into new graphs."""

NODE_DEFAULTS: Final[Json] = {
    "name": "",
    "timeout_seconds": None,
    "total_timeout_seconds": None,
    "retry": {
        "max_attempts": 3,
        "backoff": {"initial_seconds": 1, "factor": 2, "max_seconds": 60, "jitter": 0.5},
        "retry_on": ["rate_limited", "overloaded", "timeout", "unavailable"],
    },
    "on_error": {"action": "fail"},
}


def list_set_fields(value: object) -> object:
    """Return a value as JSON with every field of its Structs that is not null, found by their types."""
    if isinstance(value, Struct):
        kind = type(value)
        tags = {str(kind.__struct_config__.tag_field): kind.__struct_config__.tag}
        fields = {field.encode_name: getattr(value, field.name) for field in msgspec.structs.fields(kind)}
        return {
            name: list_set_fields(item) for name, item in (fields | tags).items() if item is not None and name != "None"
        }
    if isinstance(value, tuple):
        return [list_set_fields(item) for item in cast("tuple[object, ...]", value)]
    return msgspec.to_builtins(value)


@pytest.mark.parametrize("valid", VALID, ids=lambda valid: str(valid["kind"]))
def test_every_field_that_is_set_is_in_the_fact_also_where_it_has_its_default(valid: Json) -> None:
    meant = msgspec.convert(graph(valid, node("z"), edges=[edge("a", "z")]), Graph)
    created = WorkflowCreated(name="Launch", graph=write_stored_graph(meant))
    stored = msgspec.json.decode(encode_fact(created))["graph"]
    assert stored == list_set_fields(meant)
    assert read_stored_graph(stored) == meant


@pytest.mark.parametrize("kind", SMALLEST)
def test_a_graph_that_lacks_a_field_has_the_default_that_it_always_had(kind: str) -> None:
    old = graph(node(kind=kind, config=SMALLEST[kind], retry={}))
    line = msgspec.json.encode({"fact": "workflow.created", "name": "old", "graph": old})
    fact = decode_fact(1, "workflow.created", PLAIN_JSON, None, line)
    assert encode_fact(fact) == line
    assert isinstance(fact, WorkflowCreated)
    read = cast("dict[str, Any]", msgspec.to_builtins(evolve(Workflow(), fact).graph))["nodes"][0]
    assert find_losses(NODE_DEFAULTS, msgspec.json.decode(msgspec.json.encode(read))) == []
    assert find_losses(DEFAULTS[kind], msgspec.json.decode(msgspec.json.encode(read["config"]))) == []


def test_the_defaults_of_json_outputs_and_failures_that_continue_never_change() -> None:
    raw = {**prompt(output={"format": "json", "schema": {}}), "on_error": {"action": "continue"}}
    read = msgspec.json.decode(msgspec.json.encode(msgspec.convert(graph(raw), Graph)))["nodes"][0]
    assert read["config"]["output"] == {"format": "json", "schema": {}, "repair_attempts": 2}
    assert read["on_error"] == {"action": "continue", "output": None}


def test_nulls_of_the_author_stay_in_a_stored_graph() -> None:
    schema = {"type": ["string", "null"], "default": None, "enum": ["a", None]}
    on_error = {"action": "continue", "output": [None]}
    raw = {**prompt(output={"format": "json", "schema": schema}), "on_error": on_error}
    stored = write_stored_graph(msgspec.convert({**graph(raw), "input_schema": schema}, Graph))
    assert stored["input_schema"] == schema
    assert stored["nodes"][0]["config"]["output"]["schema"] == schema
    assert stored["nodes"][0]["on_error"]["output"] == [None]
