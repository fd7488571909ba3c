"""The table of commands: for each its noun, what it is decided against, and its decider."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from commands import asset, project, workflow
from commands.aggregates import ASSET, PROJECT, RUN, WORKFLOW, Noun
from commands.command import Command
from commands.repository import Sources
from commands.runs import lifecycle as run_again
from commands.runs import start as run
from domain.fact import Fact

Gather = Callable[[Any, Sources], Awaitable[Any]]
Decide = Callable[[Any, Any, Any, datetime], tuple[Fact, ...]]
ProjectOf = Callable[[Any, Any], UUID | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """How one command is handled. A row with `project_of` begins a stream, in the project that it gives.

    What is decided by a row with `contradicted_by` stands beside whatever happens meanwhile, but for these facts.
    """

    noun: Noun[Any]
    gather: Gather
    decide: Decide
    project_of: ProjectOf | None = None
    contradicted_by: tuple[type[Fact], ...] | None = None


def _itself(command: Command, _gathered: object) -> UUID:
    return command.target_id


def _first(_command: Command, gathered: tuple[UUID, ...]) -> UUID:
    return gathered[0]


def _gathered(_command: Command, gathered: UUID) -> UUID:
    return gathered


def _of_fork(_command: Command, gathered: run_again.Fork) -> UUID:
    return gathered.project_id


def _of_run(_command: Command, gathered: run.RunSources) -> UUID:
    return gathered.project_id


TABLE: Final[Mapping[type[Command], Row]] = {
    project.CreateProject: Row(
        noun=PROJECT, gather=project.gather_nothing, decide=project.create_project, project_of=_itself
    ),
    project.ChangeProject: Row(noun=PROJECT, gather=project.gather_nothing, decide=project.change_project),
    workflow.CreateWorkflow: Row(
        noun=WORKFLOW, gather=workflow.gather_creation, decide=workflow.create_workflow, project_of=_first
    ),
    workflow.ChangeWorkflow: Row(noun=WORKFLOW, gather=workflow.gather_change, decide=workflow.change_workflow),
    workflow.DuplicateWorkflow: Row(
        noun=WORKFLOW, gather=workflow.gather_duplication, decide=workflow.duplicate_workflow, project_of=_first
    ),
    asset.CreateAsset: Row(noun=ASSET, gather=asset.gather_creation, decide=asset.create_asset, project_of=_gathered),
    asset.ChangeAsset: Row(noun=ASSET, gather=asset.gather_change, decide=asset.change_asset),
    run.StartRun: Row(noun=RUN, gather=run.gather_start, decide=run.start_run, project_of=_of_run),
    run.DecideStep: Row(
        noun=RUN, gather=run.gather_decision, decide=run.decide_step, contradicted_by=run.CONTRADICTS_A_DECISION
    ),
    run_again.CancelRun: Row(
        noun=RUN,
        gather=run_again.gather_nothing,
        decide=run_again.cancel_run,
        contradicted_by=run_again.CONTRADICTS_A_CANCEL,
    ),
    run_again.RetryRun: Row(noun=RUN, gather=run_again.gather_retry, decide=run_again.retry_run),
    run_again.ForkRun: Row(noun=RUN, gather=run_again.gather_fork, decide=run_again.fork_run, project_of=_of_fork),
}
