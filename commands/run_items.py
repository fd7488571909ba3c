"""Which steps keep their finished items when a run is retried: those whose children would do the very same again."""

from collections.abc import Iterable
from uuid import UUID

from commands.loading import Sources
from domain.graph import Graph, MapNode
from domain.graph_difference import begins_the_same
from domain.graph_references import references
from domain.ids import to_uuid
from domain.run import Run
from domain.run_facts import Pins
from domain.run_items import finished_items


def with_finished_items(run: Run, kept: Iterable[str]) -> tuple[str, ...]:
    """Give the nodes of steps that are not kept themselves and have children that completed."""
    nodes = dict.fromkeys((*run.steps, *run.kept_items))
    done = set(kept)
    return tuple(
        node
        for node in nodes
        if node not in done and finished_items(run.steps.get(node), run.kept_items.get(node)) is not None
    )


async def still_the_same(
    nodes: Iterable[str], graphs: tuple[Graph, Graph], pins: tuple[Pins, Pins], sources: Sources
) -> tuple[str, ...]:
    """Give those of the nodes whose items are the same, and are done the same way, by a newer graph and newer pins.

    What leads to them is kept, so that the same query over it picks the same items. Raises WorkflowNotFound.
    """
    old, new = graphs
    maps = {node.id: node for node in new.nodes if isinstance(node, MapNode)}
    same: list[str] = []
    for node in nodes:
        if node not in maps or not begins_the_same(old, new, node):
            continue
        config = maps[node].config
        assets = set[UUID]() if config.dataset_id is None else {to_uuid("ast", config.dataset_id)}
        if await _pinned_the_same(assets, {to_uuid("wf", config.workflow_id)}, pins, sources):
            same.append(node)
    return tuple(same)


async def _pinned_the_same(
    assets: Iterable[UUID], workflows: Iterable[UUID], pins: tuple[Pins, Pins], sources: Sources
) -> bool:
    """Tell whether these, and all that the workflows name, however deep, are pinned at the versions that they were."""
    before, after = pins
    found_assets, open_workflows, looked_at = set(assets), list(workflows), set[UUID]()
    while open_workflows:
        workflow = open_workflows.pop()
        if workflow in looked_at:
            continue
        looked_at.add(workflow)
        version = before.workflows.get(workflow)
        if version is None or after.workflows.get(workflow) != version:
            return False
        named = references(await sources.graph(workflow, version))
        found_assets |= named.assets
        open_workflows.extend(named.workflows)
    return all(after.assets.get(asset) == before.assets.get(asset) for asset in found_assets)
