"""The kinds of streams: the initial state, the fold, and the not-found refusal of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, TypeVar, cast
from uuid import UUID

from domain import announcement, api_key, asset, project, workflow
from domain.fact import Fact
from domain.folded import Folded
from domain.refusal import Refusal
from domain.runs import refusals as run_refusals
from domain.runs import run
from store.log.records import Recorded

S = TypeVar("S")
F = TypeVar("F", bound=Fact)


@dataclass(frozen=True, slots=True)
class Noun(Generic[S]):
    """One kind of stream. A stream holds the facts of one noun only, so `evolve` never sees another's."""

    name: str
    initial: S
    evolve: Callable[[S, Fact], S]
    not_found: type[Refusal]


def _noun(name: str, initial: S, evolve: Callable[[S, F], S], not_found: type[Refusal]) -> Noun[S]:
    return Noun(name, initial, cast("Callable[[S, Fact], S]", evolve), not_found)


PROJECT: Final = _noun("project", project.Project(), project.evolve, project.ProjectNotFound)
WORKFLOW: Final = _noun("workflow", workflow.Workflow(), workflow.evolve, workflow.WorkflowNotFound)
ASSET: Final = _noun("asset", asset.Asset(), asset.evolve, asset.AssetNotFound)
API_KEY: Final = _noun("api-key", api_key.ApiKey(), api_key.evolve, api_key.ApiKeyNotFound)
ANNOUNCEMENT: Final = _noun(
    "announcement", announcement.Announcement(), announcement.evolve, announcement.AnnouncementNotFound
)
RUN: Final = _noun("run", run.Run(), run.evolve, run_refusals.RunNotFound)


def new_stream(noun: Noun[S], stream_id: UUID, workspace_id: UUID, project_id: UUID | None, now: datetime) -> Folded[S]:
    """Return a stream without facts for a command that may begin it at `now`."""
    return Folded(
        stream_id=stream_id,
        workspace_id=workspace_id,
        project_id=project_id,
        version=0,
        position=0,
        created_position=0,
        created_at=now,
        updated_at=now,
        state=noun.initial,
    )


def fold(noun: Noun[S], folded: Folded[S] | None, recorded: Sequence[Recorded], *, state: S | None = None) -> Folded[S]:
    """Return the stream after more of its facts, at least one, which must follow its version without a gap.

    `state` is the state after these facts, if the caller knows it already.
    """
    first, last = recorded[0], recorded[-1]
    if folded is None or folded.version == 0:
        before, created_position, created_at = noun.initial, first.position, first.recorded_at
        weight = 0
    else:
        before, created_position, created_at = folded.state, folded.created_position, folded.created_at
        weight = folded.weight
    if state is None:
        state = before
        for each in recorded:
            state = noun.evolve(state, each.fact)
    return Folded(
        stream_id=first.stream_id,
        workspace_id=first.workspace_id,
        project_id=first.project_id,
        version=last.version,
        position=last.position,
        created_position=created_position,
        created_at=created_at,
        updated_at=last.recorded_at,
        state=state,
        weight=weight + sum([each.weight for each in recorded]),
    )
