"""The tasks projection: one row for each human step that waits, until it is decided or cancelled."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from msgspec.json import Encoder

from domain.fact import Fact, get_topic
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
"""Write the steps that wait, each once; an older wait never replaces a newer one."""

CLOSE: Final = """
delete from tasks
 using unnest(%(runs)b::uuid[], %(nodes)b::text[], %(positions)b::bigint[]) as n (run, node, position)
 where tasks.run_id = n.run and tasks.node = n.node and tasks.position < n.position
"""
"""Delete the steps that no longer wait."""

CLOSE_RUNS: Final = """
delete from tasks
 using unnest(%(runs)b::uuid[], %(positions)b::bigint[]) as n (run, position)
 where tasks.run_id = n.run and tasks.position < n.position
"""
"""Delete all steps of runs that ended or were retried."""

CLOSING: Final = (StepDecided, StepFailed, RunFailed, RunCancelled, RunRetried)
CLOSING_TOPICS: Final = tuple(map(get_topic, CLOSING))
"""The topics of the facts after which a task no longer waits, unless it begins to wait again."""

_encode: Final = Encoder().encode


def get_closed_node(fact: Fact) -> str | None:
    """Return the node whose task a closing fact closes; None: those of the whole run."""
    return fact.node if isinstance(fact, StepDecided | StepFailed) else None


class TasksProjection:
    """Tracks the steps that wait for people; caches nothing.

    It does not subscribe to `step.completed` and `run.completed`, which are on the hot path: a human step completes
    only after its decision or its deadline, and a run only after all its steps.
    """

    name = "tasks"
    tables = ("tasks",)
    wants: frozenset[type[Fact]] = frozenset({StepWaiting, *CLOSING})

    async def apply(self, cursor: Cursor, facts: Sequence[Recorded]) -> None:
        """Write the steps that began to wait and delete those that no longer do."""
        batch = Batch()
        for event in facts:
            batch.add(event)
        await batch.write(cursor)

    def forget(self) -> None:
        """Return at once: nothing is cached."""


class Batch:
    """The net changes of a batch, so that a step that waited and was decided within it writes no row."""

    def __init__(self) -> None:
        """Create an empty batch."""
        self._opened: dict[UUID, dict[str, Recorded]] = {}
        self._closed: dict[tuple[UUID, str], int] = {}
        self._ended: dict[UUID, int] = {}

    def add(self, recorded: Recorded) -> None:
        """Add the next fact, in order of position."""
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
        """Write the net changes."""
        opened = [event for nodes in self._opened.values() for event in nodes.values()]
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
        waits = [event.fact for event in opened if isinstance(event.fact, StepWaiting)]
        projects = [event.project_id or event.stream_id for event in opened]
        await cursor.execute(
            OPEN,
            {
                "runs": uuids([event.stream_id for event in opened]),
                "nodes": texts([wait.node for wait in waits]),
                "workspaces": uuids([event.workspace_id for event in opened]),
                "projects": uuids(projects),
                "versions": longs([event.version for event in opened]),
                "positions": longs([event.position for event in opened]),
                "created_at": times([event.recorded_at for event in opened]),
                "found_by": documents(
                    [_encode(found_by(project, wait)) for project, wait in zip(projects, waits, strict=True)]
                ),
                "documents": documents([_encode(wait) for wait in waits]),
            },
            prepare=True,
        )


def found_by(project_id: UUID, wait: StepWaiting) -> list[str]:
    """Return the inboxes that hold a task; `projections/read_models/tasks_view.py` searches with the same strings."""
    users = [f"user:{user_id}" for user_id in wait.assignees]
    roles = [f"role:{project_id}:{role}" for role in wait.roles]
    return [*users, *roles, f"project:{project_id}"]
