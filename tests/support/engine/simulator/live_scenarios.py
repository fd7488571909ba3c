"""Random plots on real engines: a model that does what the plots say, and people who decide as they say."""

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
from tests.support.engine.harness import Site
from tests.support.engine.simulator.laws import last_chapter
from tests.support.engine.simulator.random_graphs import Behaviour, Plot
from tests.support.graphs import Json

DEADLINE_SECONDS = 1.0
PLAYED_SECOND = 0.005
"""How long a second of a plot lasts here."""


@dataclass(frozen=True)
class Live:
    """A run as the log has it, with what its plot says of it."""

    plot: Plot
    run: Run
    facts: list[RunFact]


@dataclass
class PlotModel(FakeModel):
    """A model that behaves as plots say; a prompt is the key of a plot and a node. `made` counts calls by token."""

    plots: dict[str, Plot] = field(default_factory=dict[str, Plot])
    made: Counter[str] = field(default_factory=Counter[str])
    late: list[str] = field(default_factory=list[str])
    """The keys of plots whose people were too slow here: nothing can be said of these."""

    def learn(self, key: str, plot: Plot) -> None:
        """Behave as a plot says, and the plots of its items."""
        self.plots[key] = plot
        for inner, item in items_of_plot(key, plot):
            self.learn(inner, item)

    async def complete(self, request: ModelRequest, on_delta: Any) -> ModelResponse:  # noqa: ANN401, ARG002  # as FakeModel
        key, _, node = request.prompt.partition("/")
        behaviour = self.plots[key].behaviours[node]
        self.made[request.idempotency_token] += 1
        usage = Usage(model="gate/plot", input_tokens=1, output_tokens=1, latency_ms=0.0)
        failures = self.made[request.idempotency_token] - 1
        await asyncio.sleep(behaviour.takes * PLAYED_SECOND)
        if behaviour.fails is None or failures < behaviour.fails:
            wait = behaviour.asks_to_wait * PLAYED_SECOND
            raise ProviderFault(behaviour.error_class, "as planned", retry_after_seconds=wait, usage=usage)
        return ModelResponse(text=str(behaviour.output), usage=usage)


def items_of_plot(key: str, plot: Plot) -> Iterator[tuple[str, Plot]]:
    """Give the plots of the items of all steps, with their keys."""
    for node, behaviour in plot.behaviours.items():
        for place, item in enumerate(behaviour.items):
            yield f"{key}.{node}.{place}", item


def without_bounds(plot: Plot) -> Plot:
    """Give a plot whose steps wait for children as long as these take: nobody knows how long that is on real parts."""
    raw = copy.deepcopy(plot.raw)
    for node in raw["nodes"]:
        node.pop("timeout_seconds", None)
    behaviours = {
        name: replace(one, items=tuple(without_bounds(item) for item in one.items))
        for name, one in plot.behaviours.items()
    }
    within = {name: without_bounds(one) for name, one in plot.within.items()}
    return Plot(raw=raw, inputs=plot.inputs, behaviours=behaviours, within=within)


def inputs_of(key: str, plot: Plot) -> Json:
    """Give what the run of a plot starts with: its key, and the inputs of its items."""
    lists = {
        node: [inputs_of(f"{key}.{node}.{place}", item) for place, item in enumerate(behaviour.items)]
        for node, behaviour in plot.behaviours.items()
        if behaviour.items or node in plot.within
    }
    return {**plot.inputs, "key": key, "lists": lists}


async def workflow_of(here: Site, project: UUID, plot: Plot) -> UUID:
    """Make a workflow of a plot's graph, and of those within it."""
    within = {node: await workflow_of(here, project, inner) for node, inner in plot.within.items()}
    nodes = [_node(one, within) for one in plot.raw["nodes"]]
    return await here.workflow(project, {"nodes": nodes, "edges": plot.raw["edges"]})


def _node(played: Json, within: dict[str, UUID]) -> Json:
    made: Json = {**played, "config": _config(played, within)}
    if played["kind"] == "transform":
        made["kind"] = "prompt"
    if "retry" in played:
        backoff = {"initial_seconds": played["retry"]["backoff"]["initial_seconds"] * PLAYED_SECOND, "jitter": 0}
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
            return config if "until" in config else {"seconds": config["seconds"] * PLAYED_SECOND}
        case "map":
            picks = {"n": "item.n", "key": "item.key", "lists": "item.lists"}
            return {
                **config,
                "workflow_id": from_uuid("wf", within[name]),
                "items": f"inputs.lists.{name}",
                "inputs": picks,
            }
        case "workflow":
            picks = {one: f"inputs.lists.{name}[0].{one}" for one in ("n", "key", "lists")}
            return {"workflow_id": from_uuid("wf", within[name]), "inputs": picks}
        case _:
            output = {"format": "json", "schema": {"type": "integer"}, "repair_attempts": 0}
            return {"model": "gate/plot", "template": "{{ inputs.key }}/" + name, "output": output}


async def decide_all(here: Site, model: PlotModel) -> None:
    """Decide whatever people of the plots decide in time, as soon as they are asked."""
    async with asyncio.TaskGroup() as people:
        async for page in here.feed.follow(0, 1_000):
            for one in page.events:
                if isinstance(one.fact, StepWaiting) and one.fact.waiting_for is WaitFor.HUMAN:
                    people.create_task(_decide(here, model, one.stream_id, one.fact.node))


async def _decide(here: Site, model: PlotModel, run_id: UUID, node: str) -> None:
    key = key_of(await here.run(run_id))
    plot = model.plots[key]
    raw = next(one for one in plot.raw["nodes"] if one["id"] == node)
    if not _decides(raw, plot.behaviours[node]):
        return
    try:
        await here.decide(run_id, node, str(plot.behaviours[node].output))
    except CommandContended:
        raise  # no run moves so fast that nobody is heard
    except Refusal:
        if (await here.run(run_id)).status is not RunStatus.CANCELLED:
            model.late.append(key)


def key_of(run: Run) -> str:
    inputs: Any = run.inputs.value
    return inputs["key"]


def _decides(played: Json, behaviour: Behaviour) -> bool:
    deadline = played["config"].get("deadline")
    in_time = deadline is None or behaviour.takes < deadline["after_seconds"]
    return behaviour.output is not None and in_time


class Child(NamedTuple):
    """A place in the list of a step that waits, or has waited: the id that its child has, if it begins."""

    run_id: UUID
    plot: Plot
    node: str
    was_done: bool
    """It had completed for an earlier wait, and is not begun once more."""


def children_of(run_id: UUID, facts: list[RunFact], plot: Plot) -> Iterator[Child]:
    """Give the children of all the waits of a run's last attempt."""
    attempt, begins = 1, len(facts) - len(last_chapter(facts))
    done: set[tuple[str, int]] = set()
    for place, fact in enumerate(facts):
        if isinstance(fact, RunRetried):
            attempt = fact.run_attempt
        elif isinstance(fact, StepItemsSettled):
            done |= {(fact.node, one.item) for one in fact.items if one.outcome is ItemOutcome.COMPLETED}
        elif isinstance(fact, StepWaiting) and fact.waiting_for is WaitFor.CHILD and place >= begins:
            for item, inner in enumerate(plot.behaviours[fact.node].items):
                child = create_child_id(run_id, attempt, fact, item)
                yield Child(child, inner, fact.node, was_done=fact.resumes and (fact.node, item) in done)
