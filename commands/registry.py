"""All commands with their deciders."""

from collections.abc import Mapping
from typing import Final, TypeVar, cast

from commands.aggregates import ANNOUNCEMENT, API_KEY, ASSET, PROJECT, RUN, WORKFLOW
from commands.announcement import (
    PublishAnnouncement,
    WithdrawAnnouncement,
    publish_announcement,
    withdraw_announcement,
)
from commands.api_key import CreateApiKey, RevokeApiKey, create_api_key, revoke_api_key
from commands.asset import ChangeAsset, CreateAsset, change_asset, create_asset, gather_asset_change, gather_new_asset
from commands.command import Command, Decider, find_no_project, find_project, gather_nothing
from commands.project import ChangeProject, CreateProject, change_project, create_project, gather_new_project
from commands.runs.lifecycle import (
    CANCEL_CONFLICTS,
    CancelRun,
    ForkRun,
    RetryRun,
    cancel_run,
    fork_run,
    gather_fork,
    gather_retry,
    retry_run,
)
from commands.runs.signal import SIGNAL_CONFLICTS, SendSignal, gather_signal, send_signal
from commands.runs.start import (
    DECISION_CONFLICTS,
    DecideStep,
    StartRun,
    decide_step,
    gather_decision,
    gather_start,
    start_run,
)
from commands.workflow import (
    ChangeWorkflow,
    CreateWorkflow,
    DuplicateWorkflow,
    change_workflow,
    create_workflow,
    duplicate_workflow,
    gather_duplication,
    gather_new_workflow,
    gather_workflow_change,
)

S = TypeVar("S")

_PROJECTS: Final = (
    Decider(
        command=CreateProject,
        noun=PROJECT,
        gather=gather_new_project,
        decide=create_project,
        find_project=find_project,
    ),
    Decider(command=ChangeProject, noun=PROJECT, gather=gather_nothing, decide=change_project),
)
_WORKFLOWS: Final = (
    Decider(
        command=CreateWorkflow,
        noun=WORKFLOW,
        gather=gather_new_workflow,
        decide=create_workflow,
        find_project=find_project,
    ),
    Decider(command=ChangeWorkflow, noun=WORKFLOW, gather=gather_workflow_change, decide=change_workflow),
    Decider(
        command=DuplicateWorkflow,
        noun=WORKFLOW,
        gather=gather_duplication,
        decide=duplicate_workflow,
        find_project=find_project,
    ),
)
_ASSETS: Final = (
    Decider(command=CreateAsset, noun=ASSET, gather=gather_new_asset, decide=create_asset, find_project=find_project),
    Decider(command=ChangeAsset, noun=ASSET, gather=gather_asset_change, decide=change_asset),
)
_API_KEYS: Final = (
    Decider(
        command=CreateApiKey,
        noun=API_KEY,
        gather=gather_nothing,
        decide=create_api_key,
        find_project=find_no_project,
    ),
    Decider(command=RevokeApiKey, noun=API_KEY, gather=gather_nothing, decide=revoke_api_key),
)
_ANNOUNCEMENTS: Final = (
    Decider(
        command=PublishAnnouncement,
        noun=ANNOUNCEMENT,
        gather=gather_nothing,
        decide=publish_announcement,
        find_project=find_no_project,
    ),
    Decider(
        command=WithdrawAnnouncement,
        noun=ANNOUNCEMENT,
        gather=gather_nothing,
        decide=withdraw_announcement,
    ),
)
_RUNS: Final = (
    Decider(command=StartRun, noun=RUN, gather=gather_start, decide=start_run, find_project=find_project),
    Decider(
        command=DecideStep,
        noun=RUN,
        gather=gather_decision,
        decide=decide_step,
        contradicted_by=DECISION_CONFLICTS,
    ),
    Decider(command=SendSignal, noun=RUN, gather=gather_signal, decide=send_signal, contradicted_by=SIGNAL_CONFLICTS),
    Decider(command=CancelRun, noun=RUN, gather=gather_nothing, decide=cancel_run, contradicted_by=CANCEL_CONFLICTS),
    Decider(command=RetryRun, noun=RUN, gather=gather_retry, decide=retry_run),
    Decider(command=ForkRun, noun=RUN, gather=gather_fork, decide=fork_run, find_project=find_project),
)

DECIDERS: Final[Mapping[type, object]] = {
    decider.command: decider for decider in (*_PROJECTS, *_WORKFLOWS, *_ASSETS, *_API_KEYS, *_ANNOUNCEMENTS, *_RUNS)
}


def find_decider(command: Command[S]) -> Decider[Command[S], S, object]:
    """Return the decider of a command."""
    # Each decider was checked against its own command above; a mapping cannot express that key and value match.
    return cast("Decider[Command[S], S, object]", DECIDERS[type(command)])
