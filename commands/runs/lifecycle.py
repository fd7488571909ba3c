"""Commands that cancel, retry or fork a run; completed steps are kept."""

from datetime import datetime
from typing import Final
from uuid import UUID

from msgspec import UNSET, Struct

from commands.aggregates import RUN
from commands.command import Command, InProject
from commands.repository import Sources
from commands.runs.retained import find_nodes_with_finished_items, find_nodes_with_output, select_unchanged
from commands.runs.start import RunSources, StartRun, check_inputs, gather_pinned
from domain.graphs.diff import find_conflicts, find_downstream, translate_edges
from domain.graphs.graph import Graph
from domain.payload import Payload
from domain.runs.facts import (
    RUN_ENDS,
    ForkedFrom,
    Pins,
    RunCancelRequested,
    RunFact,
    RunRetried,
    RunStarted,
    StepReused,
    StepSkipped,
)
from domain.runs.refusals import (
    CompletedPartChanged,
    RunAlreadyStarted,
    RunIsChild,
    RunNotRetriable,
    RunNotRunning,
    StepNotFound,
)
from domain.runs.run import Run, RunStatus
from domain.runs.steps import SETTLED, StepStatus

Kept = dict[str, tuple[int, ...]]
"""The steps whose results are kept, each with the places of the edges taken out of it."""

CANCEL_CONFLICTS: Final = (RunCancelRequested, *RUN_ENDS)
"""Facts that conflict with a cancellation: it is requested already, or too late. Any other append may be concurrent."""


class CancelRun(Command[Run], frozen=True, kw_only=True):
    """Cancel a run: its open calls are aborted."""

    user_id: str
    reason: str | None = None


class RetryRun(Command[Run], frozen=True, kw_only=True):
    """Resume a run that failed or was cancelled, from where it stopped; optionally on the newest graph."""

    user_id: str
    newest_graph: bool = False


class ForkRun(Command[Run], frozen=True, kw_only=True):
    """Start a run from a step of another; the steps before it are reused. `inputs` None: those of the other run."""

    source_id: UUID
    node: str
    inputs: Payload | None = None
    raw_inputs: object = UNSET
    newest_graph: bool = False


class RetrySources(Struct, frozen=True, kw_only=True):
    """Data of a retry: the workflow version, the steps that are kept, and new pins if the version has changed."""

    workflow_version: int
    kept: Kept
    items_kept: tuple[str, ...] = ()
    outputs_kept: tuple[str, ...] = ()
    pins: Pins | None


class ForkSources(InProject, frozen=True, kw_only=True):
    """Data of a fork: the graph and the steps that it reuses."""

    source: Run
    workflow_version: int
    kept: Kept
    pins: Pins


def cancel_run(command: CancelRun, run: Run, _gathered: None, now: datetime) -> tuple[RunFact, ...]:
    """Decide a cancellation; repeated, it is a no-op. Raises RunNotRunning if the run has ended otherwise."""
    if run.cancel_requested or run.status is RunStatus.CANCELLED:
        return ()
    if run.has_ended:
        raise RunNotRunning
    return (RunCancelRequested(requested_by=command.user_id, reason=command.reason, requested_at=now),)


async def gather_retry(command: RetryRun, sources: Sources) -> RetrySources:
    """Load what a retry keeps, and admit it. Raises ProjectNotActive, CompletedPartChanged, TooManyRuns."""
    gathered = await _gather_retained(command, sources)
    await sources.admit_run()
    return gathered


async def _gather_retained(command: RetryRun, sources: Sources) -> RetrySources:
    """Load the steps that are kept, and the graph."""
    loaded = await sources.load(RUN, command.target_id)
    await sources.load_active_project(loaded.project_id or loaded.stream_id)
    run = loaded.state
    kept = select_kept_by_retry(run)
    given = find_nodes_with_output(run)
    items = find_nodes_with_finished_items(run, (*kept, *given))
    if not command.newest_graph:
        version = run.workflow_version
        return RetrySources(workflow_version=version, kept=kept, items_kept=items, outputs_kept=given, pins=None)
    newest = await _gather_newest(command, sources, run)
    graphs, pins = await _load_graphs(sources, run, newest), (run.pins, newest.pins)
    return RetrySources(
        workflow_version=newest.workflow_version,
        kept=translate_kept(*graphs, kept),
        items_kept=await select_unchanged(items, graphs, pins, sources),
        outputs_kept=await select_unchanged(given, graphs, pins, sources),
        pins=newest.pins,
    )


def select_kept_by_retry(run: Run) -> Kept:
    """Return the steps that a retry keeps: all settled ones, except those that failed for good.

    A step that failed but continued by its default or its fallback is kept.
    """
    return {
        node: step.edges_taken
        for node, step in run.steps.items()
        if step.status in SETTLED and not step.ends_its_run and step.gave is None
    }


def retry_run(command: RetryRun, run: Run, gathered: RetrySources, now: datetime) -> tuple[RunFact, ...]:
    """Decide a retry of a run as its next attempt. Raises RunIsChild, RunNotRetriable."""
    if run.parent is not None:
        raise RunIsChild
    if run.status not in (RunStatus.FAILED, RunStatus.CANCELLED):
        raise RunNotRetriable
    return (
        RunRetried(
            run_attempt=run.attempt + 1,
            workflow_version=gathered.workflow_version,
            kept=gathered.kept,
            items_kept=gathered.items_kept,
            outputs_kept=gathered.outputs_kept,
            pins=gathered.pins,
            retried_by=command.user_id,
            retried_at=now,
        ),
    )


async def gather_fork(command: ForkRun, sources: Sources) -> ForkSources:
    """Find out what is taken over, in which graph. Raises StepNotFound, InputsUnacceptable, …."""
    loaded = await sources.load_unguarded(RUN, command.source_id)
    project = await sources.load_active_project(loaded.project_id or loaded.stream_id)
    run = loaded.state
    old = await sources.load_graph(run.workflow_id, run.workflow_version)
    kept = select_kept_by_fork(old, run, command.node)
    version, pins, graph = run.workflow_version, run.pins, old
    if command.newest_graph:
        newest = await _gather_newest(command, sources, run)
        _, graph = await _load_graphs(sources, run, newest)
        version, pins, kept = newest.workflow_version, newest.pins, translate_kept(old, graph, kept)
    if all(node.id != command.node for node in graph.nodes):
        raise StepNotFound(f"The graph has no step '{command.node[:63]}'.")
    await check_inputs(graph.input_schema, command.raw_inputs, sources)
    await sources.admit_run()
    return ForkSources(project_id=project.stream_id, source=run, workflow_version=version, kept=kept, pins=pins)


def select_kept_by_fork(graph: Graph, run: Run, node: str) -> Kept:
    """Return the steps that a fork reuses: completed or skipped ones that are not descendants of the step.

    Descendants of a step that is not reused are not reused either: they are executed again.
    """
    done = (StepStatus.COMPLETED, StepStatus.SKIPPED)
    anew = find_downstream(graph, {node, *(name for name, step in run.steps.items() if step.status not in done)})
    return {name: step.edges_taken for name, step in run.steps.items() if name not in anew}


def fork_run(command: ForkRun, run: Run, gathered: ForkSources, now: datetime) -> tuple[RunFact, ...]:
    """Decide the start of a fork, linked to the original run. Raises RunAlreadyStarted."""
    if run.status is not RunStatus.ABSENT:
        raise RunAlreadyStarted
    source = gathered.source
    started = RunStarted(
        workflow_id=source.workflow_id,
        workflow_version=gathered.workflow_version,
        inputs=source.inputs if command.inputs is None else command.inputs,
        pins=gathered.pins,
        forked_from=ForkedFrom(run_id=command.source_id, node=command.node),
        name=source.name,
        labels=source.labels,
        started_at=now,
    )
    return (started, *(_reuse_step(command, source, node, edges, now) for node, edges in gathered.kept.items()))


def _reuse_step(
    command: ForkRun, source: Run, node: str, edges: tuple[int, ...], now: datetime
) -> StepSkipped | StepReused:
    step = source.steps[node]
    if step.status is StepStatus.SKIPPED:
        return StepSkipped(node=node, reason=step.reason or "it was skipped in the original run")
    return StepReused(node=node, from_run=command.source_id, output=step.output, edges_taken=edges, reused_at=now)


async def _gather_newest(command: RetryRun | ForkRun, sources: Sources, run: Run) -> RunSources:
    start = StartRun(target_id=command.target_id, workflow_id=run.workflow_id, inputs=run.inputs, flags=run.pins.flags)
    return await gather_pinned(start, sources)


async def _load_graphs(sources: Sources, run: Run, newest: RunSources) -> tuple[Graph, Graph]:
    old = await sources.load_graph(run.workflow_id, run.workflow_version)
    return old, await sources.load_graph(run.workflow_id, newest.workflow_version)


def translate_kept(old: Graph, new: Graph, kept: Kept) -> Kept:
    """Return the kept steps with the indexes of their taken edges in a newer graph. Raises CompletedPartChanged."""
    problems = find_conflicts(old, new, kept)
    if problems:
        raise CompletedPartChanged(problems=problems)
    return translate_edges(old, new, kept)
