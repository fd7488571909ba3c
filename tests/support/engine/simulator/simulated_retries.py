"""Retries and forks of a simulated run, and the parts that the reference expects them to keep."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from commands.runs.lifecycle import (
    ForkRun,
    ForkSources,
    RetryRun,
    RetrySources,
    fork_run,
    retry_run,
    select_kept_by_fork,
    select_kept_by_retry,
    translate_kept,
)
from commands.runs.retained import find_nodes_with_finished_items, find_nodes_with_output
from domain.graphs.diff import is_step_unchanged
from domain.payload import Payload
from domain.runs.facts import (
    ItemOutcome,
    Pins,
    RunFact,
    RunRetried,
    StepCompleted,
    StepFailed,
    StepItemsSettled,
    StepReused,
    StepSkipped,
    StepWaiting,
    WaitFor,
)
from domain.runs.run import Run
from tests.support.engine.simulator.laws import RunRecord, list_last_attempt, list_settled
from tests.support.engine.simulator.random_graphs import GraphCase
from tests.support.engine.simulator.reference import (
    ExpectedStep,
    Items,
    KeptOutput,
    KeptOutputs,
    compute_expected,
    compute_run_outputs,
)
from tests.support.engine.simulator.simulator import NOBODY, Simulator
from tests.support.graphs import Json

ExpectedSteps = Mapping[str, ExpectedStep]


def retry(simulator: Simulator, graph_case: GraphCase) -> None:
    """Retry a run that has ended, on a graph case. Raises CompletedPartChanged."""
    run = simulator.run
    kept = select_kept_by_retry(run)
    given = find_nodes_with_output(run)
    items = find_nodes_with_finished_items(run, (*kept, *given))
    again = RetrySources(
        workflow_version=run.workflow_version, kept=kept, items_kept=items, outputs_kept=given, pins=None
    )
    if graph_case.raw is not simulator.graph_case.raw:
        kept = translate_kept(simulator.graph_case.graph, graph_case.graph, kept)
        # What the children go by has no newer version here.
        graphs = simulator.graph_case.graph, graph_case.graph
        items = tuple(node for node in items if is_step_unchanged(*graphs, node))
        given = tuple(node for node in given if is_step_unchanged(*graphs, node))
        version = run.workflow_version + 1
        again = RetrySources(workflow_version=version, kept=kept, items_kept=items, outputs_kept=given, pins=Pins())
    command = RetryRun(target_id=simulator.run_id, user_id="ada", newest_graph=again.pins is not None)
    facts = retry_run(command, run, again, simulator.now)
    simulator.graph_case, simulator.losses, simulator.cancel_at = graph_case, 0, None
    simulator.record(facts)
    simulator.take_over()


def fork(simulator: Simulator, graph_case: GraphCase, node: str) -> Simulator:
    """Fork a run from a step of another, on a graph case. Raises CompletedPartChanged."""
    run, newest = simulator.run, graph_case.raw is not simulator.graph_case.raw
    kept = select_kept_by_fork(simulator.graph_case.graph, run, node)
    gathered = ForkSources(
        project_id=NOBODY,
        source=run,
        workflow_version=run.workflow_version + newest,
        kept=translate_kept(simulator.graph_case.graph, graph_case.graph, kept) if newest else kept,
        pins=run.pins,
    )
    inputs = None if graph_case.inputs == simulator.graph_case.inputs else Payload(value=graph_case.inputs)
    command = ForkRun(target_id=NOBODY, source_id=simulator.run_id, node=node, inputs=inputs, newest_graph=newest)
    forked = Simulator(graph_case, simulator.random, simulator.faults, now=simulator.now)
    forked.record(fork_run(command, Run(), gathered, simulator.now))
    forked.take_over()
    return forked


def compute_kept_steps(facts: list[RunFact], expected_steps: ExpectedSteps) -> dict[str, ExpectedStep]:
    """Return the expected steps that a retry keeps, by the recorded facts: all that are done."""
    done: set[str] = set()
    for fact in facts:
        if isinstance(fact, RunRetried):
            done &= set(fact.kept)
        done |= list_settled([fact])
    return {node: expected_steps[node] for node in done}


def compute_kept_outputs(
    simulator: RunRecord, expected_steps: ExpectedSteps, before: KeptOutputs
) -> dict[str, KeptOutput]:
    """Return the outputs of unsettled steps that a retry keeps, by the recorded facts."""
    found = dict(before)
    for fact in list_last_attempt(simulator.facts):
        if isinstance(fact, StepCompleted):
            found.pop(fact.node, None)
        elif isinstance(fact, StepFailed):
            given = expected_steps[fact.node].gave
            found.pop(fact.node, None)
            if given is not None and fact.gave is not None:
                found[fact.node] = given
    return found


def compute_kept_items(simulator: RunRecord, before: Items) -> dict[str, dict[int, Any]]:
    """Return the outputs of the items of maps that are recorded as done."""
    found: dict[str, dict[int, Any]] = {node: dict(items) for node, items in before.items()}
    for fact in list_last_attempt(simulator.facts):
        if isinstance(fact, StepItemsSettled):
            done = [result.item for result in fact.items if result.outcome is ItemOutcome.COMPLETED]
            graph_cases = simulator.graph_case.behaviours[fact.node].items
            outputs = {
                item: compute_run_outputs(graph_cases[item], compute_expected(graph_cases[item])) for item in done
            }
            found[fact.node] = {**outputs, **found.get(fact.node, {})}
        elif isinstance(fact, StepWaiting) and fact.waiting_for is WaitFor.CHILD:
            assert fact.resumes is bool(found.get(fact.node)), f"{fact.node} begins anew what is done, or keeps nothing"
    return found


def is_step_unchanged_with_edges(old: GraphCase, new: GraphCase, node: str) -> bool:
    """Return whether a step is the same in two graphs, with the same incoming edges."""
    return (
        _list_incoming(old, node) == _list_incoming(new, node)
        and _describe_part(old, {node})[0] == _describe_part(new, {node})[0]
    )


def _list_incoming(graph_case: GraphCase, node: str) -> set[tuple[str, str, str | None]]:
    return {
        (raw_edge["from"], raw_edge["to"], raw_edge.get("when"))
        for raw_edge in graph_case.raw["edges"]
        if raw_edge["to"] == node
    }


def compute_reused_steps(
    graph_case: GraphCase, facts: list[RunFact], expected_steps: ExpectedSteps, node: str
) -> dict[str, ExpectedStep]:
    """Return the expected steps that a fork reuses: completed or skipped, with all before them, without the step."""
    done: set[str] = set()
    for fact in facts:
        if isinstance(fact, RunRetried):
            done &= set(fact.kept)
        elif isinstance(fact, StepCompleted | StepReused | StepSkipped):
            done.add(fact.node)
        elif isinstance(fact, StepFailed):
            done.discard(fact.node)
    done.discard(node)
    while gone := {raw_edge["to"] for raw_edge in graph_case.raw["edges"] if raw_edge["from"] not in done} & done:
        done -= gone
    return {name: expected_steps[name] for name in done}


def translate_edges(old: GraphCase, new: GraphCase, kept: ExpectedSteps) -> dict[str, ExpectedStep]:
    """Return the kept steps with their taken edges at their indexes in another graph."""
    places = {(raw_edge["from"], raw_edge["to"]): place for place, raw_edge in enumerate(new.raw["edges"])}
    ways = [(raw_edge["from"], raw_edge["to"]) for raw_edge in old.raw["edges"]]
    return {
        node: replace(kept, taken=frozenset(places[ways[place]] for place in kept.taken)) for node, kept in kept.items()
    }


def is_part_unchanged(old: GraphCase, new: GraphCase, kept: ExpectedSteps) -> bool:
    """Return whether two graphs are equal in the kept part: its steps, and the edges at them."""
    return _describe_part(old, kept) == _describe_part(new, kept)


def _describe_part(
    graph_case: GraphCase, kept: Collection[str]
) -> tuple[dict[str, tuple[str, Json]], set[tuple[str, str, str | None]]]:
    nodes = {
        raw_node["id"]: (raw_node["kind"], raw_node.get("config", {}))
        for raw_node in graph_case.raw["nodes"]
        if raw_node["id"] in kept
    }
    ways = {(raw_edge["from"], raw_edge["to"], raw_edge.get("when")) for raw_edge in graph_case.raw["edges"]}
    return nodes, {way for way in ways if way[0] in kept or way[1] in kept}
