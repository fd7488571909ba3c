"""Judging graphs: what is accepted, all faults at once, bounds, and that nothing else is ever raised."""

from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domain.graphs.graph import Graph
from domain.graphs.references import find_raw_references, find_references
from domain.graphs.validation.check import GraphUnacceptable, check_graph
from tests.support.graphs import CHILD, DATASET, KNOWN, PROMPT, Json, edge, find_problems, graph, human, node, prompt

VALID: list[Json] = [
    node(),
    node(config={"expression": "inputs.{a: a}"}, name="Pick", timeout_seconds=3, total_timeout_seconds=9.5),
    node(retry={"max_attempts": 5, "backoff": {"initial_seconds": 2, "jitter": 0}, "retry_on": ["timeout"]}),
    node(on_error={"action": "continue", "output": [1, None]}),
    node(on_error={"action": "fail"}),
    prompt(),
    prompt(template=None, asset_id=PROMPT, variables={"topic": "inputs.topic"}, system="Be {{ inputs.mood }}"),
    prompt(parameters={"temperature": 0, "max_output_tokens": 9, "stop": ["."], "seed": 1}, output={"format": "text"}),
    prompt(output={"format": "json", "schema": {"type": "object"}, "repair_attempts": 0}),
    human(),
    human(
        assignees=[{"user": "u-1"}, {"role": "owner"}],
        outcomes=["ship", "hold"],
        instructions="Look at {{ inputs.topic }}",
        shows={"topic": "inputs.topic"},
        form={"type": "object", "properties": {"why": {"type": "string"}}},
        deadline={"after_seconds": 60, "then": {"action": "decide", "outcome": "hold", "data": {"why": "late"}}},
    ),
    human(deadline={"after_seconds": 60, "then": {"action": "fail"}}),
    node(kind="http", config={"url": "https://example.com/{{ inputs.id }}"}),
    node(
        kind="http",
        config={
            "url": "{{ inputs.url }}",
            "method": "POST",
            "headers": {"Authorization": "Bearer {{ secrets.crm }}"},
            "body": "{{ inputs | json }}",
        },
    ),
    node(kind="delay", config={"seconds": 0.5}),
    node(kind="delay", config={"until": "{{ inputs.at }}"}),
    node(kind="map", config={"workflow_id": CHILD, "items": "inputs.list", "inputs": {"one": "item"}}),
    node(
        kind="map",
        config={
            "workflow_id": CHILD,
            "dataset_id": DATASET,
            "concurrency": 100,
            "on_item_failure": "continue",
            "most_failed_items": 3,
        },
    ),
    node(kind="workflow", config={"workflow_id": CHILD, "inputs": {"all": "inputs"}}),
]


@pytest.mark.parametrize("valid", VALID, ids=lambda valid: str(valid["kind"]))
def test_a_node_of_every_kind_is_accepted_and_survives_storing(valid: Json) -> None:
    accepted = check_graph(graph(valid), KNOWN)
    assert msgspec.json.decode(msgspec.json.encode(accepted), type=Graph) == accepted


def test_fields_of_later_versions_are_ignored_in_stored_graphs() -> None:
    stored = graph(node(since_later=1)) | {"layout": 1}
    assert msgspec.convert(stored, Graph).nodes[0].id == "a"


def test_all_faults_are_found_at_once_even_within_one_node() -> None:
    bad = node("A", "prompt", config={"model": 1, "template": "{{", "asset_id": "x", "odd": 1}, timeout_seconds=-1)
    raw = graph(bad, node("b", "nope"), node("c", on_error={"action": "fallback", "to": "b"})) | {
        "edges": [edge("b", "c"), edge("c", "b", when="("), edge("c", "zz"), edge("c", "c", when=3)]
    }
    assert set(find_problems(raw)) == {
        "/nodes/0/id",
        "/nodes/0/config/model",
        "/nodes/0/config/template",
        "/nodes/0/config/asset_id",
        "/nodes/0/config/odd",
        "/nodes/0/timeout_seconds",
        "/nodes/1/kind",
        "/nodes/2/on_error/to",
        "/edges/0",
        "/edges/1/when",
        "/edges/2/to",
        "/edges/3",
        "/edges/3/when",
    }


def test_an_answer_holds_a_bounded_number_of_problems() -> None:
    raw = graph(*[node("A") for _ in range(500)])
    with pytest.raises(GraphUnacceptable) as caught:
        check_graph(raw, KNOWN)
    assert len(caught.value.problems) == 200


def test_deep_nesting_is_refused_without_recursion() -> None:
    deep: list[Any] = []
    for _ in range(20_000):
        deep = [deep]
    assert "nested" in find_problems(graph(node(on_error={"action": "continue", "output": deep})))[""]


def test_references_are_the_same_before_and_after_judging() -> None:
    raw = graph(
        node("a", "prompt", config={"model": "x/y", "asset_id": PROMPT}),
        node("b", "map", config={"workflow_id": CHILD, "dataset_id": DATASET}),
        node("c", "workflow", config={"workflow_id": CHILD}),
    )
    expected = find_references(check_graph(raw, KNOWN))
    assert find_raw_references(raw) == expected
    assert expected.assets == frozenset(KNOWN.assets)
    assert expected.workflows == KNOWN.workflows


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=15,
)
FIELDS = [
    *("id", "kind", "name", "config", "retry", "timeout_seconds", "on_error", "model", "asset_id", "template", "form"),
    *("output", "schema", "assignees", "url", "headers", "items", "workflow_id", "deadline", "inputs", "expression"),
    *("action", "to", "from", "when", "format", "nodes", "edges", "shows", "outcomes", "variables"),
]
WORDS = st.sampled_from(
    ["prompt", "human", "transform", "map", "a", "b", "fallback", "json", "steps.a", "{{ steps.b }}"]
)
NEARLY = st.recursive(
    JSON | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=6),
    max_leaves=25,
)


@given(JSON | st.fixed_dictionaries({"nodes": st.lists(NEARLY, max_size=4), "edges": st.lists(NEARLY, max_size=4)}))
@example({"nodes": [{"id": 1, "kind": ["prompt"]}], "edges": None})
def test_no_json_value_raises_anything_but_the_refusal(raw: object) -> None:
    find_raw_references(raw)
    find_problems(raw)


@given(st.sampled_from(VALID), st.data())
def test_a_valid_node_with_one_field_spoilt_raises_nothing_but_the_refusal(valid: Json, data: st.DataObject) -> None:
    spoilt = dict(valid)
    config = dict(valid.get("config", {}))
    target = data.draw(st.sampled_from([spoilt, config]))
    target[data.draw(st.sampled_from(FIELDS))] = data.draw(NEARLY)
    find_problems(graph(spoilt | ({"config": config} if config and target is config else {})))
