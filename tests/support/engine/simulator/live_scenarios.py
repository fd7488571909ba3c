"""Random graph cases on real engines: a model and people that behave as the cases say."""

import asyncio
import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple
from uuid import UUID

from commands.handler import CommandContended
from domain.ids import from_uuid
from domain.refusal import Refusal
from domain.runs.facts import ItemOutcome, RunFact, RunRetried, StepItemsSettled, StepWaiting, Usage, WaitFor
from domain.runs.run import Run, RunStatus
from engine.children.step_children import create_child_id
from engine.providers.provider import ModelRequest, ModelResponse, ProviderFault
from tests.support.engine.fake_model import FakeModel
from tests.support.engine.harness import Harness
from tests.support.engine.simulator.laws import list_last_attempt
from tests.support.engine.simulator.random_graphs import Behaviour, GraphCase
from tests.support.graphs import Json

DEADLINE_SECONDS = 1.0
SIMULATED_SECOND = 0.005
"""Real seconds for one second of a graph case."""


@dataclass(frozen=True)
class LiveRun:
    """A run as folded from the log, with its graph case."""

    graph_case: GraphCase
    run: Run
    facts: list[RunFact]


@dataclass
class GraphCaseModel(FakeModel):
    """A model that behaves as graph cases say; a prompt names a case and a node. `made` counts calls by token."""

    graph_cases: dict[str, GraphCase] = field(default_factory=dict[str, GraphCase])
    made: Counter[str] = field(default_factory=Counter[str])
    late: list[str] = field(default_factory=list[str])
    """The keys of graph cases whose people decided too late here: their results cannot be compared."""

    def learn(self, key: str, graph_case: GraphCase) -> None:
        """Register a graph case, and those of its items."""
        self.graph_cases[key] = graph_case
        for inner, item in list_item_cases(key, graph_case):
            self.learn(inner, item)

    async def complete(self, request: ModelRequest, on_delta: Any) -> ModelResponse:  # noqa: ANN401, ARG002  # as FakeModel
        key, _, node = request.prompt.partition("/")
        behaviour = self.graph_cases[key].behaviours[node]
        self.made[request.idempotency_token] += 1
        usage = Usage(model="fake/plot", input_tokens=1, output_tokens=1, latency_ms=0.0)
        failures = self.made[request.idempotency_token] - 1
        await asyncio.sleep(behaviour.takes * SIMULATED_SECOND)
        if behaviour.fails is None or failures < behaviour.fails:
            wait = behaviour.asks_to_wait * SIMULATED_SECOND
            raise ProviderFault(behaviour.error_class, "as planned", retry_after_seconds=wait, usage=usage)
        return ModelResponse(text=str(behaviour.output), usage=usage)


def list_item_cases(key: str, graph_case: GraphCase) -> Iterator[tuple[str, GraphCase]]:
    """Yield the graph cases of the items of all steps, with their keys."""
    for node, behaviour in graph_case.behaviours.items():
        for place, item in enumerate(behaviour.items):
            yield f"{key}.{node}.{place}", item


def without_bounds(graph_case: GraphCase) -> GraphCase:
    """Return the graph case without timeouts of children, whose duration is unknown on real parts."""
    raw = copy.deepcopy(graph_case.raw)
    for node in raw["nodes"]:
        node.pop("timeout_seconds", None)
    behaviours = {
        name: replace(behaviour, items=tuple(without_bounds(item) for item in behaviour.items))
        for name, behaviour in graph_case.behaviours.items()
    }
    within = {name: without_bounds(case) for name, case in graph_case.within.items()}
    return GraphCase(raw=raw, inputs=graph_case.inputs, behaviours=behaviours, within=within)


def build_inputs(key: str, graph_case: GraphCase) -> Json:
    """Return the inputs of a run: its key, and the inputs of its items."""
    lists = {
        node: [build_inputs(f"{key}.{node}.{place}", item) for place, item in enumerate(behaviour.items)]
        for node, behaviour in graph_case.behaviours.items()
        if behaviour.items or node in graph_case.within
    }
    return {**graph_case.inputs, "key": key, "lists": lists}


async def create_workflow(harness: Harness, project: UUID, graph_case: GraphCase) -> UUID:
    """Create workflows for a graph case and for those within it."""
    within = {node: await create_workflow(harness, project, inner) for node, inner in graph_case.within.items()}
    nodes = [_node(raw_node, within) for raw_node in graph_case.raw["nodes"]]
    return await harness.workflow(project, {"nodes": nodes, "edges": graph_case.raw["edges"]})


def _node(played: Json, within: dict[str, UUID]) -> Json:
    made: Json = {**played, "config": _config(played, within)}
    if played["kind"] == "transform":
        made["kind"] = "prompt"
    if "retry" in played:
        backoff = {"initial_seconds": played["retry"]["backoff"]["initial_seconds"] * SIMULATED_SECOND, "jitter": 0}
        made["retry"] = {**played["retry"], "backoff": backoff}
    return made


def _config(played: Json, within: dict[str, UUID]) -> Json:
    name, config = played["id"], played.get("config", {})
    match played["kind"]:
        case "human":
            deadline = (
                {"deadline": {**config["deadline"], "after_seconds": DEADLINE_SECONDS}} if "deadline" in config else {}
            )
            return {"assignees": [{"user": "rita"}], **deadline}
        case "delay":
            return config if "until" in config else {"seconds": config["seconds"] * SIMULATED_SECOND}
        case "map":
            picks = {"n": "item.n", "key": "item.key", "lists": "item.lists"}
            return {
                **config,
                "workflow_id": from_uuid("wf", within[name]),
                "items": f"inputs.lists.{name}",
                "inputs": picks,
            }
        case "workflow":
            picks = {field_name: f"inputs.lists.{name}[0].{field_name}" for field_name in ("n", "key", "lists")}
            return {"workflow_id": from_uuid("wf", within[name]), "inputs": picks}
        case _:
            output = {"format": "json", "schema": {"type": "integer"}, "repair_attempts": 0}
            return {"model": "fake/plot", "template": "{{ inputs.key }}/" + name, "output": output}


async def decide_all(harness: Harness, model: GraphCaseModel) -> None:
    """Decide each human step that its graph case decides in time, as soon as it waits."""
    async with asyncio.TaskGroup() as people:
        async for page in harness.feed.follow(0, 1_000):
            for event in page.events:
                if isinstance(event.fact, StepWaiting) and event.fact.waiting_for is WaitFor.HUMAN:
                    people.create_task(_decide(harness, model, event.stream_id, event.fact.node))


async def _decide(harness: Harness, model: GraphCaseModel, run_id: UUID, node: str) -> None:
    key = read_key(await harness.run(run_id))
    graph_case = model.graph_cases[key]
    raw = next(raw_node for raw_node in graph_case.raw["nodes"] if raw_node["id"] == node)
    if not _decides(raw, graph_case.behaviours[node]):
        return
    try:
        await harness.decide(run_id, node, str(graph_case.behaviours[node].output))
    except CommandContended:
        raise  # no run moves so fast that nobody is heard
    except Refusal:
        if (await harness.run(run_id)).status is not RunStatus.CANCELLED:
            model.late.append(key)


def read_key(run: Run) -> str:
    inputs: Any = run.inputs.value
    return inputs["key"]


def _decides(played: Json, behaviour: Behaviour) -> bool:
    deadline = played["config"].get("deadline")
    in_time = deadline is None or behaviour.takes < deadline["after_seconds"]
    return behaviour.output is not None and in_time


class Child(NamedTuple):
    """A place in the list of a step that waits, or has waited: the id that its child has, if it begins."""

    run_id: UUID
    graph_case: GraphCase
    node: str
    was_done: bool
    """It had completed for an earlier wait, and is not begun once more."""


def list_children(run_id: UUID, facts: list[RunFact], graph_case: GraphCase) -> Iterator[Child]:
    """Yield the children of all waits of a run's last attempt."""
    attempt, begins = 1, len(facts) - len(list_last_attempt(facts))
    done: set[tuple[str, int]] = set()
    for place, fact in enumerate(facts):
        if isinstance(fact, RunRetried):
            attempt = fact.run_attempt
        elif isinstance(fact, StepItemsSettled):
            done |= {(fact.node, result.item) for result in fact.items if result.outcome is ItemOutcome.COMPLETED}
        elif isinstance(fact, StepWaiting) and fact.waiting_for is WaitFor.CHILD and place >= begins:
            for item, inner in enumerate(graph_case.behaviours[fact.node].items):
                child = create_child_id(run_id, attempt, fact, item)
                yield Child(child, inner, fact.node, was_done=fact.resumes and (fact.node, item) in done)
