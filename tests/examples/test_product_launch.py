"""The example of the demo: a graph without faults, whose every branch can be walked with scripted answers."""

from pathlib import Path
from typing import Any, cast
from uuid import UUID

import msgspec
import pytest

from domain.expressions.cel import compile_condition
from domain.expressions.jmespath_queries import compile_query
from domain.expressions.liquid_templates import compile_template
from domain.graphs.compiled import compile_graph
from domain.graphs.configs import JsonOutput, PromptConfig
from domain.graphs.graph import Graph, HumanNode, PromptNode, TransformNode
from domain.graphs.validation.check import check_graph
from domain.graphs.validation.json_schema import compile_schema
from domain.graphs.validation.semantics import KnownReferences
from domain.ids import from_uuid
from engine.providers.provider import ModelRequest
from engine.providers.scripted import Scripted

Json = dict[str, Any]
ASSET = "asset:"
EXAMPLE: Json = msgspec.json.decode((Path(__file__).parents[2] / "examples" / "product-launch.json").read_bytes())
UUIDS = {asset["name"]: UUID(f"01890a5d-ac96-774b-bcce-b302099a80{n:02x}") for n, asset in enumerate(EXAMPLE["assets"])}
CONTENTS = {from_uuid("ast", UUIDS[asset["name"]]): str(asset["content"]) for asset in EXAMPLE["assets"]}


def replace_asset_names(value: object) -> Any:  # noqa: ANN401  # any JSON value
    """Replace `asset:<name>` by the id of the asset, as the demo does."""
    if isinstance(value, dict):
        return {key: replace_asset_names(inner) for key, inner in cast("Json", value).items()}
    if isinstance(value, list):
        return [replace_asset_names(inner) for inner in cast("list[object]", value)]
    if isinstance(value, str) and value.startswith(ASSET):
        return from_uuid("ast", UUIDS[value.removeprefix(ASSET)])
    return value


def check_example_graph() -> Graph:
    known = KnownReferences(assets=dict.fromkeys(UUIDS.values(), "prompt"))
    workflow = replace_asset_names(EXAMPLE["workflow"])
    return check_graph({"nodes": workflow["nodes"], "edges": workflow["edges"]}, known)


async def complete_prompt(config: PromptConfig, data: Json) -> Any:  # noqa: ANN401  # any JSON value
    template = config.template if config.asset_id is None else CONTENTS[config.asset_id]
    seen = data | {"variables": {name: compile_query(query).apply(data) for name, query in config.variables.items()}}
    prompt = compile_template(template or "").render(seen)
    ask = ModelRequest(
        model=config.model,
        prompt=prompt,
        output=config.output,
        idempotency_token="t",  # noqa: S106  # no secret
        timeout_seconds=1,
    )
    text = (await Scripted().complete(ask, lambda _: None)).text
    if not isinstance(config.output, JsonOutput):
        return text
    value = msgspec.json.decode(text)
    assert compile_schema(config.output.schema).problems(value) == ()
    return value


async def compute_outputs(inputs: Json, review: Json) -> Json:
    """The output of every node that runs, in an order that the graph allows."""
    compiled = compile_graph(check_example_graph())
    data: Json = {"inputs": inputs, "steps": {}}
    taken: set[int] = set()
    for node_id in compiled.order:
        if compiled.incoming[node_id] and not taken & {edge.index for edge in compiled.incoming[node_id]}:
            continue
        match compiled.nodes[node_id]:
            case PromptNode(config=config):
                output = await complete_prompt(config, data)
            case HumanNode(config=config):
                output = review
            case TransformNode(config=config):
                output = compile_query(config.expression or "@").apply(data)
            case other:
                raise AssertionError(other)
        data["steps"][node_id] = {"output": output}
        for edge in compiled.outgoing[node_id]:
            if edge.when is None or compile_condition(edge.when).holds(inputs, data["steps"]):
                taken.add(edge.index)
    return {node: step["output"] for node, step in data["steps"].items()}


async def test_an_approved_launch_ends_in_a_kit() -> None:
    outputs = await compute_outputs(EXAMPLE["inputs"], EXAMPLE["review"])
    assert set(outputs) == {"outline", "email", "social", "press", "review", "launch_kit"}
    kit = outputs["launch_kit"]
    assert kit["email"] == {"subject": EXAMPLE["review"]["data"]["email_subject"], "body": outputs["email"]}
    assert kit["press_release"].startswith("[scripted]")
    assert kit["reviewer_said"] == EXAMPLE["review"]["comment"]
    assert None not in kit.values()


async def test_the_press_release_is_written_only_if_the_brief_asks_for_it() -> None:
    brief = EXAMPLE["inputs"]["brief"] | {"channels": ["email", "social"]}
    outputs = await compute_outputs({"brief": brief}, EXAMPLE["review"])
    assert "press" not in outputs
    assert outputs["launch_kit"]["press_release"] is None


async def test_a_rejected_launch_is_sent_back() -> None:
    outputs = await compute_outputs(EXAMPLE["inputs"], EXAMPLE["review"] | {"outcome": "reject"})
    assert outputs["sent_back"] == {"sent_back": True, "reviewer_said": EXAMPLE["review"]["comment"]}
    assert "launch_kit" not in outputs


@pytest.mark.parametrize("data", [EXAMPLE["review"]["data"], {"facts_checked": True}])
def test_the_reviewer_fills_the_form_rightly(data: Json) -> None:
    (form,) = (node.config.form for node in check_example_graph().nodes if isinstance(node, HumanNode))
    assert form is not None
    assert compile_schema(form).problems(data) == ()


def test_every_asset_is_used() -> None:
    used = {node.config.asset_id for node in check_example_graph().nodes if isinstance(node, PromptNode)}
    assert used - {None} == set(CONTENTS)
