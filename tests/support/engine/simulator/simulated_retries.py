"""Going on with a played run, and forking one: what people ask for, and what the reference thinks is kept of it."""

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
from tests.support.engine.simulator.laws import Told, last_chapter, settled_in
from tests.support.engine.simulator.random_graphs import Plot
from tests.support.engine.simulator.reference import Expected, Gifts, Given, Items, expected, outputs_of
from tests.support.engine.simulator.simulator import NOBODY, Play
from tests.support.graphs import Json

Fates = Mapping[str, Expected]


def retry(play: Play, plot: Plot) -> None:
    """Go on with a run that has ended, by what the plot says now. Raises CompletedPartChanged."""
    run = play.run
    kept = select_kept_by_retry(run)
    given = find_nodes_with_output(run)
    items = find_nodes_with_finished_items(run, (*kept, *given))
    again = RetrySources(
        workflow_version=run.workflow_version, kept=kept, items_kept=items, outputs_kept=given, pins=None
    )
    if plot.raw is not play.plot.raw:
        kept = translate_kept(play.plot.graph, plot.graph, kept)
        # What the children go by has no newer version here.
        graphs = play.plot.graph, plot.graph
        items = tuple(node for node in items if is_step_unchanged(*graphs, node))
        given = tuple(node for node in given if is_step_unchanged(*graphs, node))
        version = run.workflow_version + 1
        again = RetrySources(workflow_version=version, kept=kept, items_kept=items, outputs_kept=given, pins=Pins())
    command = RetryRun(target_id=play.run_id, user_id="ada", newest_graph=again.pins is not None)
    facts = retry_run(command, run, again, play.now)
    play.plot, play.losses, play.cancel_at = plot, 0, None
    play.record(facts)
    play.open()


def fork(play: Play, plot: Plot, node: str) -> Play:
    """Begin a run from a step of another, by what the plot says now. Raises CompletedPartChanged."""
    run, newest = play.run, plot.raw is not play.plot.raw
    kept = select_kept_by_fork(play.plot.graph, run, node)
    gathered = ForkSources(
        project_id=NOBODY,
        source=run,
        workflow_version=run.workflow_version + newest,
        kept=translate_kept(play.plot.graph, plot.graph, kept) if newest else kept,
        pins=run.pins,
    )
    inputs = None if plot.inputs == play.plot.inputs else Payload(value=plot.inputs)
    command = ForkRun(target_id=NOBODY, source_id=play.run_id, node=node, inputs=inputs, newest_graph=newest)
    forked = Play(plot, play.random, play.chances, now=play.now)
    forked.record(fork_run(command, Run(), gathered, play.now))
    forked.open()
    return forked


def kept_of(facts: list[RunFact], fates: Fates) -> dict[str, Expected]:
    """Give the fates that a retry keeps, by what is recorded: all that is done."""
    done: set[str] = set()
    for fact in facts:
        if isinstance(fact, RunRetried):
            done &= set(fact.kept)
        done |= settled_in([fact])
    return {node: fates[node] for node in done}


def gifts_of(play: Told, fates: Fates, before: Gifts) -> dict[str, Given]:
    """Give what steps gave that no retry has them do again, by what is recorded, and by what they were to give."""
    found = dict(before)
    for fact in last_chapter(play.facts):
        if isinstance(fact, StepCompleted):
            found.pop(fact.node, None)
        elif isinstance(fact, StepFailed):
            given = fates[fact.node].gave
            found.pop(fact.node, None)
            if given is not None and fact.gave is not None:
                found[fact.node] = given
    return found


def items_of(play: Told, before: Items) -> dict[str, dict[int, Any]]:
    """Give the outputs of the items of maps that are recorded as done, by what each was to do when it was done."""
    found: dict[str, dict[int, Any]] = {node: dict(items) for node, items in before.items()}
    for fact in last_chapter(play.facts):
        if isinstance(fact, StepItemsSettled):
            done = [one.item for one in fact.items if one.outcome is ItemOutcome.COMPLETED]
            plots = play.plot.behaviours[fact.node].items
            outputs = {item: outputs_of(plots[item], expected(plots[item])) for item in done}
            found[fact.node] = {**outputs, **found.get(fact.node, {})}
        elif isinstance(fact, StepWaiting) and fact.waiting_for is WaitFor.CHILD:
            assert fact.resumes is bool(found.get(fact.node)), f"{fact.node} begins anew what is done, or keeps nothing"
    return found


def begins_alike(old: Plot, new: Plot, node: str) -> bool:
    """Tell whether a step is the same in two graphs, and the same edges lead to it."""
    return _ways_to(old, node) == _ways_to(new, node) and _said(old, {node})[0] == _said(new, {node})[0]


def _ways_to(plot: Plot, node: str) -> set[tuple[str, str, str | None]]:
    return {(one["from"], one["to"], one.get("when")) for one in plot.raw["edges"] if one["to"] == node}


def taken_over_of(plot: Plot, facts: list[RunFact], fates: Fates, node: str) -> dict[str, Expected]:
    """Give the fates that a fork takes over: of what went well or was skipped, with all before it, and not the step."""
    done: set[str] = set()
    for fact in facts:
        if isinstance(fact, RunRetried):
            done &= set(fact.kept)
        elif isinstance(fact, StepCompleted | StepReused | StepSkipped):
            done.add(fact.node)
        elif isinstance(fact, StepFailed):
            done.discard(fact.node)
    done.discard(node)
    while gone := {one["to"] for one in plot.raw["edges"] if one["from"] not in done} & done:
        done -= gone
    return {name: fates[name] for name in done}


def moved_to(old: Plot, new: Plot, kept: Fates) -> dict[str, Expected]:
    """Give what is kept with the edges that were taken at their places in another graph."""
    places = {(one["from"], one["to"]): place for place, one in enumerate(new.raw["edges"])}
    ways = [(one["from"], one["to"]) for one in old.raw["edges"]]
    return {
        node: replace(one, taken=frozenset(places[ways[place]] for place in one.taken)) for node, one in kept.items()
    }


def says_the_same(old: Plot, new: Plot, kept: Fates) -> bool:
    """Tell whether two graphs say the same of what is kept: what these steps do, and the edges at them."""
    return _said(old, kept) == _said(new, kept)


def _said(plot: Plot, kept: Collection[str]) -> tuple[dict[str, tuple[str, Json]], set[tuple[str, str, str | None]]]:
    nodes = {one["id"]: (one["kind"], one.get("config", {})) for one in plot.raw["nodes"] if one["id"] in kept}
    ways = {(one["from"], one["to"], one.get("when")) for one in plot.raw["edges"]}
    return nodes, {way for way in ways if way[0] in kept or way[1] in kept}
