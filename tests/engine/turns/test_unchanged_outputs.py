"""Outputs passed through a step unchanged: stored as before, and not measured again."""

from domain.payload import Payload
from domain.runs.run import Run, RunStatus
from domain.runs.steps import Step, StepStatus
from engine.executors import reuse_payload
from engine.steps.contract import StepCall
from engine.steps.run_data import RunData
from store.contents import inline
from tests.support.engine.simulator.random_graphs import GraphCase
from tests.support.engine.simulator.simulator import NOBODY
from tests.support.graphs import edge, graph, node

GRAPH = GraphCase(raw=graph(node("a"), node("b"), edges=[edge("a", "b")]), inputs={}, behaviours={}).compiled_graph
LARGE = Payload(value="x" * 40_000)
REFERENCE = Payload(ref="sha256:" + "ab" * 32, bytes=40_000, media_type="application/json")


def call(name: str, *, inputs: Payload, a: Step | None = None) -> StepCall:
    return StepCall(
        workspace_id=NOBODY,
        run_id=NOBODY,
        run=Run(status=RunStatus.RUNNING, inputs=inputs, steps={} if a is None else {"a": a}),
        graph=GRAPH,
        node=GRAPH.nodes[name],
        attempt=1,
        data=RunData(inputs.value),
        traceparent=None,
    )


def test_inputs_that_pass_through_stand_as_they_stood() -> None:
    inputs = Payload(value={"brief": [1, 2]})
    assert reuse_payload(call("a", inputs=inputs), inputs.value) is inputs
    assert inline(inputs.value) == inputs


def test_an_output_that_passes_through_stands_as_it_stood() -> None:
    gave = Payload(value={"words": 3})
    done = Step(status=StepStatus.COMPLETED, output=gave)
    assert reuse_payload(call("b", inputs=Payload(value={}), a=done), gave.value) is gave


def test_another_output_is_measured() -> None:
    inputs = Payload(value={"brief": [1, 2]})
    assert reuse_payload(call("a", inputs=inputs), {"brief": [1, 2]}) is None
    assert reuse_payload(call("b", inputs=inputs), inputs.value) is None


def test_what_was_never_measured_is_measured() -> None:
    defaulted = Step(status=StepStatus.FAILED, output=LARGE, continued=True)
    assert reuse_payload(call("b", inputs=Payload(value={}), a=defaulted), LARGE.value) is None


def test_what_stands_by_reference_is_measured() -> None:
    kept = Step(status=StepStatus.COMPLETED, output=REFERENCE)
    assert reuse_payload(call("b", inputs=REFERENCE, a=kept), {"large": "value"}) is None
    assert reuse_payload(call("b", inputs=REFERENCE, a=kept), None) is None
