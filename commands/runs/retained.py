"""Work of uncompleted steps that a retry retains: the output of a failed step, and completed items of a map."""

from collections.abc import Iterable
from uuid import UUID

from commands.repository import Sources
from domain.graphs.diff import is_step_unchanged
from domain.graphs.graph import Graph
from domain.graphs.references import References, find_references
from domain.runs.facts import Pins
from domain.runs.run import Run
from domain.runs.steps import find_finished_items


def find_nodes_with_output(run: Run) -> tuple[str, ...]:
    """Return the nodes of steps that failed although they have an output: a condition of an outgoing edge failed."""
    return tuple(node for node, step in run.steps.items() if step.gave is not None)


def find_nodes_with_finished_items(run: Run, kept: Iterable[str]) -> tuple[str, ...]:
    """Return the nodes of steps that are not kept themselves but have completed children."""
    nodes = dict.fromkeys((*run.steps, *run.kept_items))
    done = set(kept)
    return tuple(
        node
        for node in nodes
        if node not in done and find_finished_items(run.steps.get(node), run.kept_items.get(node)) is not None
    )


async def select_unchanged(
    nodes: Iterable[str], graphs: tuple[Graph, Graph], pins: tuple[Pins, Pins], sources: Sources
) -> tuple[str, ...]:
    """Return those of the nodes that are unchanged in a newer graph with newer pins.

    The steps before them are kept, so they would see the same data, and a map the same items. Raises WorkflowNotFound.
    """
    old, new = graphs
    there = {node.id: node for node in new.nodes}
    same: list[str] = []
    for node in nodes:
        if not is_step_unchanged(old, new, node):
            continue
        named = find_references(Graph(nodes=(there[node],), edges=()))
        if await _has_same_pins(named, pins, sources):
            same.append(node)
    return tuple(same)


async def _has_same_pins(named: References, pins: tuple[Pins, Pins], sources: Sources) -> bool:
    """Return whether the references, and those of nested workflows at any depth, are pinned at the same versions."""
    before, after = pins
    found_assets, open_workflows, looked_at = set(named.assets), list(named.workflows), set[UUID]()
    while open_workflows:
        workflow = open_workflows.pop()
        if workflow in looked_at:
            continue
        looked_at.add(workflow)
        version = before.workflows.get(workflow)
        if version is None or after.workflows.get(workflow) != version:
            return False
        within = find_references(await sources.load_graph(workflow, version))
        found_assets |= within.assets
        open_workflows.extend(within.workflows)
    return all(after.assets.get(asset) == before.assets.get(asset) for asset in found_assets)
