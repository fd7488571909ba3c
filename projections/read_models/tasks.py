"""The tasks projection: every human step that waits, one row each, until it is decided or will not be."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from msgspec.json import Encoder

from domain.fact import Fact
from domain.runs.facts import (
    RunCancelled,
    RunFailed,
    RunRetried,
    StepDecided,
    StepFailed,
    StepWaiting,
    WaitFor,
)
from projections.runtime.projection import Cursor
from store.log.records import Recorded
from store.postgres.arrays import documents, longs, texts, times, uuids

OPEN: Final = """
insert into tasks (run_id, node, workspace_id, project_id, version, position, created_at, found_by, document)
select n.run, n.node, n.workspace, n.project, n.version, n.position, n.created_at,
       array(select json_array_elements_text(n.found_by::json)), n.document::json
  from unnest(%(runs)b::uuid[], %(nodes)b::text[], %(workspaces)b::uuid[], %(projects)b::uuid[],
              %(versions)b::bigint[], %(positions)b::bigint[], %(created_at)b::timestamptz[],
              %(found_by)b::text[], %(documents)b::text[])
       as n (run, node, workspace, project, version, position, created_at, found_by, document)
    on conflict (run_id, node) do update
   set version = excluded.version, position = excluded.position, created_at = excluded.created_at,
       found_by = excluded.found_by, document = excluded.document
 where tasks.position < excluded.position
"""
"""Write the steps that wait, each once; never an older wait over a newer one."""

CLOSE: Final = """
delete from tasks
 using unnest(%(runs)b::uuid[], %(nodes)b::text[], %(positions)b::bigint[]) as n (run, node, position)
 where tasks.run_id = n.run and tasks.node = n.node and tasks.position < n.position
"""
"""Remove the steps that wait no more."""

CLOSE_RUNS: Final = """
delete from tasks
 using unnest(%(runs)b::uuid[], %(positions)b::bigint[]) as n (run, position)
 where tasks.run_id = n.run and tasks.position < n.position
"""
"""Remove all steps of runs in which nothing waits any more."""

_encode: Final = Encoder().encode


class TasksProjection:
    """Follows the steps that wait for people.

    It keeps nothing in memory. It does not want `step.completed` and `run.completed`, which lie on the hot path: a
    human step completes only after its decision (its deadline's included), and a run only after all its steps.
    """

    name = "tasks"
    tables = ("tasks",)
    wants: frozenset[type[Fact]] = frozenset(
        {StepWaiting, StepDecided, StepFailed, RunFailed, RunCancelled, RunRetried}
    )

    async def apply(self, cursor: Cursor, facts: Sequence[Recorded]) -> None:
        """Write what began to wait and remove what waits no more."""
        batch = Batch()
        for one in facts:
            batch.take(one)
        await batch.write(cursor)

    def forget(self) -> None:
        """Remember nothing, as always."""


class Batch:
    """What several facts come to together: so that a step that waited and was decided among them costs no row."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._opened: dict[UUID, dict[str, Recorded]] = {}
        self._closed: dict[tuple[UUID, str], int] = {}
        self._ended: dict[UUID, int] = {}

    def take(self, recorded: Recorded) -> None:
        """Take one more fact, in order of position."""
        run_id = recorded.stream_id
        match recorded.fact:
            case StepWaiting(waiting_for=WaitFor.HUMAN, node=node):
                self._opened.setdefault(run_id, {})[node] = recorded
            case StepWaiting(node=node) | StepDecided(node=node) | StepFailed(node=node):
                self._opened.get(run_id, {}).pop(node, None)
                self._closed[run_id, node] = recorded.position
            case _:
                self._opened.pop(run_id, None)
                self._ended[run_id] = recorded.position

    async def write(self, cursor: Cursor) -> None:
        """Write what the facts came to."""
        opened = [one for nodes in self._opened.values() for one in nodes.values()]
        if self._closed:
            keys = self._closed
            await cursor.execute(
                CLOSE,
                {
                    "runs": uuids([run_id for run_id, _ in keys]),
                    "nodes": texts([node for _, node in keys]),
                    "positions": longs(keys.values()),
                },
                prepare=True,
            )
        if self._ended:
            await cursor.execute(
                CLOSE_RUNS, {"runs": uuids(self._ended), "positions": longs(self._ended.values())}, prepare=True
            )
        if opened:
            await self._open(cursor, opened)

    @staticmethod
    async def _open(cursor: Cursor, opened: list[Recorded]) -> None:
        waits = [one.fact for one in opened if isinstance(one.fact, StepWaiting)]
        projects = [one.project_id or one.stream_id for one in opened]
        await cursor.execute(
            OPEN,
            {
                "runs": uuids([one.stream_id for one in opened]),
                "nodes": texts([wait.node for wait in waits]),
                "workspaces": uuids([one.workspace_id for one in opened]),
                "projects": uuids(projects),
                "versions": longs([one.version for one in opened]),
                "positions": longs([one.position for one in opened]),
                "created_at": times([one.recorded_at for one in opened]),
                "found_by": documents(
                    [_encode(found_by(project, wait)) for project, wait in zip(projects, waits, strict=True)]
                ),
                "documents": documents([_encode(wait) for wait in waits]),
            },
            prepare=True,
        )


def found_by(project_id: UUID, wait: StepWaiting) -> list[str]:
    """Say whose inbox holds a task; `projections/read_models/tasks_view.py` asks with the same words."""
    users = [f"user:{user_id}" for user_id in wait.assignees]
    roles = [f"role:{project_id}:{role}" for role in wait.roles]
    return [*users, *roles, f"project:{project_id}"]
