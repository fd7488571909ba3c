"""A noun of the domain as the handler needs it: where its state begins, how facts change it, what its absence is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

from domain import asset, project, workflow
from domain.folded import Folded
from domain.refusal import Refusal
from domain.runs import refusals as run_refusals
from domain.runs import run
from store.log.records import Recorded

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Noun(Generic[S]):
    """One kind of stream. `evolve` takes the noun's own facts only; a stream never holds another noun's."""

    name: str
    initial: S
    evolve: Callable[[S, Any], S]
    not_found: type[Refusal]


PROJECT: Final = Noun("project", project.Project(), project.evolve, project.ProjectNotFound)
WORKFLOW: Final = Noun("workflow", workflow.Workflow(), workflow.evolve, workflow.WorkflowNotFound)
ASSET: Final = Noun("asset", asset.Asset(), asset.evolve, asset.AssetNotFound)
RUN: Final = Noun("run", run.Run(), run.evolve, run_refusals.RunNotFound)


def new_stream(noun: Noun[S], stream_id: UUID, workspace_id: UUID, project_id: UUID | None, now: datetime) -> Folded[S]:
    """Return a stream without facts, as a command may begin it at `now`."""
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


def fold(noun: Noun[S], folded: Folded[S] | None, recorded: Sequence[Recorded]) -> Folded[S]:
    """Return the stream after more of its facts, at least one, which must follow its version without a gap."""
    first, last = recorded[0], recorded[-1]
    if folded is None or folded.version == 0:
        state, created_position, created_at = noun.initial, first.position, first.recorded_at
    else:
        state, created_position, created_at = folded.state, folded.created_position, folded.created_at
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
    )
