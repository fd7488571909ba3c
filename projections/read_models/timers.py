"""The timers projection: which steps are due by the clock, and when; the row is deleted when its step moves on."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from domain.fact import Fact
from domain.runs.facts import (
    RunCancelled,
    RunFailed,
    RunRetried,
    StepCompleted,
    StepDecided,
    StepFailed,
    StepStarted,
    StepWaiting,
)
from projections.runtime.projection import Cursor
from store.log.records import Recorded
from store.postgres.arrays import texts, times, uuids

DELETE_OF_RUNS: Final = "delete from timers where run_id = any (%(runs)b::uuid[])"
"""Delete the timers of runs that ended before their steps had settled, or that were retried."""

DELETE: Final = """
delete from timers t
 using unnest(%(runs)b::uuid[], %(nodes)b::text[]) as n (run, node)
 where t.run_id = n.run and t.node = n.node
"""
"""Delete the timers of steps that have moved on."""

WRITE: Final = """
insert into timers (run_id, node, workspace_id, due_at)
select n.run, n.node, n.workspace, n.due_at
  from unnest(%(runs)b::uuid[], %(nodes)b::text[], %(workspaces)b::uuid[], %(due_at)b::timestamptz[])
       as n (run, node, workspace, due_at)
    on conflict (run_id, node) do update set due_at = excluded.due_at
"""
"""Write the timers of a batch, at most one per step."""

Key = tuple[int, str]


class TimersProjection:
    """Keeps the pending timers. The effect of a fact depends on the fact alone, so nothing is cached."""

    name = "timers"
    tables = ("timers",)
    wants: frozenset[type[Fact]] = frozenset(
        {StepStarted, StepWaiting, StepDecided, StepCompleted, StepFailed, RunFailed, RunCancelled, RunRetried}
    )

    async def apply(self, cursor: Cursor, facts: Sequence[Recorded]) -> None:
        """Write the timers that these facts set and delete those that they end."""
        changes = _Changes()
        for event in facts:
            changes.add(event)
        await changes.write(cursor)

    def forget(self) -> None:
        """Return at once: nothing is cached."""


class _Changes:
    """The net changes of a batch: after it a step's timer is `over` or `due`.

    Runs are keyed by their ids as integers: a UUID's hash is slow.
    """

    def __init__(self) -> None:
        self.closed: dict[int, UUID] = {}
        self.begun: set[Key] = set()
        self.over: dict[Key, Recorded] = {}
        self.due: dict[Key, tuple[Recorded, datetime]] = {}

    def add(self, recorded: Recorded) -> None:
        fact, run = recorded.fact, recorded.stream_id.int
        if type(fact) is StepStarted or type(fact) is StepCompleted:  # nearly all facts
            key = run, fact.node
            if type(fact) is StepStarted and fact.attempt == 1:
                self.begun.add(key)
            elif key not in self.begun:
                self.over[key] = recorded
            if self.due:
                self.due.pop(key, None)
        elif isinstance(fact, RunFailed | RunCancelled | RunRetried):
            self.closed[run] = recorded.stream_id
            self.over = {key: value for key, value in self.over.items() if key[0] != run}
            self.due = {key: value for key, value in self.due.items() if key[0] != run}
        elif isinstance(fact, StepWaiting | StepDecided | StepFailed):
            self._set_due((run, fact.node), recorded, read_due_at(fact))

    def _set_due(self, key: Key, recorded: Recorded, due_at: datetime | None) -> None:
        if due_at is None:
            self.due.pop(key, None)
            self.over[key] = recorded
        else:
            self.over.pop(key, None)
            self.due[key] = recorded, due_at

    async def write(self, cursor: Cursor) -> None:
        if self.closed:
            await cursor.execute(DELETE_OF_RUNS, {"runs": uuids(self.closed.values())})
        # A step that began within the batch has no row, so most batches of busy runs write nothing.
        over = [(event, key[1]) for key, event in self.over.items() if key not in self.begun]
        if over:
            runs, nodes = uuids(event.stream_id for event, _ in over), texts(node for _, node in over)
            await cursor.execute(DELETE, {"runs": runs, "nodes": nodes})
        if self.due:
            due = self.due.values()
            await cursor.execute(
                WRITE,
                {
                    "runs": uuids(event.stream_id for event, _ in due),
                    "nodes": texts(node for _, node in self.due),
                    "workspaces": uuids(event.workspace_id for event, _ in due),
                    "due_at": times(due_at for _, due_at in due),
                },
            )


def read_due_at(fact: Fact) -> datetime | None:
    """Return when a step becomes due by the clock because of this fact, or None.

    An attempt that is due at once, for example because its owner was lost, needs no timer.
    """
    if isinstance(fact, StepWaiting):
        return fact.until
    if isinstance(fact, StepFailed) and fact.retry_at is not None and fact.retry_at > fact.failed_at:
        return fact.retry_at
    return None
