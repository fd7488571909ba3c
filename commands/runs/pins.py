"""Pins of a run: the versions of everything that its graph, and the graphs of its child workflows, refer to."""

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from commands.aggregates import ASSET, WORKFLOW
from commands.repository import Sources
from domain.graphs.references import find_references
from domain.project import Project
from domain.runs.call_recording import collect_flags
from domain.runs.facts import Pins
from domain.runs.features import check_features
from domain.runs.prices import collect_prices
from domain.runs.refusals import WorkflowContainsItself, WorkflowsTooMany, WorkflowTooDeep
from domain.workflow import Workflow

DEEPEST: Final = 10
"""Maximum depth of nested workflows, including the outermost."""

MOST_WORKFLOWS: Final = 200
"""Maximum number of workflows that one run may pin: each is a guard of the append."""


NO_FLAGS: Final[Mapping[str, object]] = {}


class _Found:
    """Pins found so far; `heights` are the nesting depths of the workflows that were searched completely."""

    def __init__(self, sources: Sources, flags: Mapping[str, object]) -> None:
        self.sources = sources
        self.flags = flags
        self.assets: dict[UUID, int] = {}
        self.workflows: dict[UUID, int] = {}
        self.prices: dict[str, object] = {}
        self.heights: dict[UUID, int] = {}


async def gather_pins(
    workflow_id: UUID,
    workflow: Workflow,
    sources: Sources,
    project: Project,
    flags: Mapping[str, object] = NO_FLAGS,
) -> Pins:
    """Load and guard all that a run of a workflow depends on; `flags` are the feature flags that it sees.

    Raises WorkflowContainsItself, WorkflowTooDeep, WorkflowsTooMany, FeatureSwitchedOff, and the not-found refusals.
    """
    found = _Found(sources, flags)
    await _pin_workflow(found, workflow_id, workflow, ())
    return Pins(
        assets=found.assets,
        workflows=found.workflows,
        prices=found.prices,
        flags={**flags, **collect_flags(project.settings)},
    )


async def _pin_workflow(found: _Found, workflow_id: UUID, workflow: Workflow, above: tuple[UUID, ...]) -> int:
    """Add the references of one workflow and of those nested in it; return the nesting depth from here."""
    path = (*above, workflow_id)
    check_features(workflow.graph, found.flags)
    named = find_references(workflow.graph)
    for asset_id in sorted(named.assets - found.assets.keys()):
        found.assets[asset_id] = (await found.sources.load(ASSET, asset_id)).state.version
    found.prices.update(collect_prices(workflow.graph, found.sources.prices))
    within = [await _measure_height(found, inner, path) for inner in sorted(named.workflows)]
    found.heights[workflow_id] = 1 + max(within, default=0)
    return found.heights[workflow_id]


async def _measure_height(found: _Found, inner: UUID, path: tuple[UUID, ...]) -> int:
    if inner in path:
        raise WorkflowContainsItself
    height = found.heights.get(inner)
    if height is None:
        if len(path) >= DEEPEST:
            raise WorkflowTooDeep
        if len(found.workflows) >= MOST_WORKFLOWS:
            raise WorkflowsTooMany
        loaded = await found.sources.load(WORKFLOW, inner)
        found.workflows[inner] = loaded.state.version
        height = await _pin_workflow(found, inner, loaded.state, path)
    if len(path) + height > DEEPEST:
        raise WorkflowTooDeep
    return height
