"""A noun of the domain as the handler needs it: where its state begins, how facts change it, what its absence is."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

from msgspec import Struct

from domain import asset, project, workflow
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


class Loaded(Struct, Generic[S], frozen=True, kw_only=True):
    """A stream folded up to a version. Version 0 is a stream that has not begun."""

    stream_id: UUID
    version: int
    position: int
    workspace_id: UUID
    project_id: UUID | None
    created_at: datetime | None
    updated_at: datetime | None
    state: S


def absent(noun: Noun[S], stream_id: UUID, workspace_id: UUID, project_id: UUID | None) -> Loaded[S]:
    """Give a stream that has not begun."""
    return Loaded(
        stream_id=stream_id,
        version=0,
        position=0,
        workspace_id=workspace_id,
        project_id=project_id,
        created_at=None,
        updated_at=None,
        state=noun.initial,
    )


def fold(noun: Noun[S], loaded: Loaded[S], recorded: tuple[Recorded, ...] | list[Recorded]) -> Loaded[S]:
    """Give the stream after more of its facts, which must follow its version without a gap."""
    if not recorded:
        return loaded
    state = loaded.state
    for one in recorded:
        state = noun.evolve(state, one.fact)
    first, last = recorded[0], recorded[-1]
    return Loaded(
        stream_id=loaded.stream_id,
        version=last.version,
        position=last.position,
        workspace_id=first.workspace_id,
        project_id=first.project_id,
        created_at=loaded.created_at or first.recorded_at,
        updated_at=last.recorded_at,
        state=state,
    )
