"""The timers projection: which steps are due by the clock, and when; a row goes once its step has moved on."""

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
"""Drop the timers of runs that have ended before their steps had settled, or begin anew."""

DELETE: Final = """
delete from timers t
 using unnest(%(runs)b::uuid[], %(nodes)b::text[]) as n (run, node)
 where t.run_id = n.run and t.node = n.node
"""
"""Drop the timers of steps that have moved on."""

WRITE: Final = """
insert into timers (run_id, node, workspace_id, due_at)
select n.run, n.node, n.workspace, n.due_at
  from unnest(%(runs)b::uuid[], %(nodes)b::text[], %(workspaces)b::uuid[], %(due_at)b::timestamptz[])
       as n (run, node, workspace, due_at)
    on conflict (run_id, node) do update set due_at = excluded.due_at
"""
"""Write the timers of a batch, one a step."""

Key = tuple[int, str]


class TimersProjection:
    """Keeps the pending timers. What a fact does to them follows from it alone, so nothing is remembered."""

    name = "timers"
    tables = ("timers",)
    wants: frozenset[type[Fact]] = frozenset(
        {StepStarted, StepWaiting, StepDecided, StepCompleted, StepFailed, RunFailed, RunCancelled, RunRetried}
    )

    async def apply(self, cursor: Cursor, facts: Sequence[Recorded]) -> None:
        """Write and drop the timers that these facts set and end."""
        changes = _Changes()
        for one in facts:
            changes.take(one)
        await changes.write(cursor)

    def forget(self) -> None:
        """Do nothing: nothing is remembered."""


class _Changes:
    """What a batch comes to: the last word on each step is that its timer is `over`, or that it is `due`.

    Streams are known by their ids as integers: a UUID's hash is slow.
    """

    def __init__(self) -> None:
        self.closed: dict[int, UUID] = {}
        self.begun: set[Key] = set()
        self.over: dict[Key, Recorded] = {}
        self.due: dict[Key, tuple[Recorded, datetime]] = {}

    def take(self, recorded: Recorded) -> None:
        fact, run = recorded.fact, recorded.stream_id.int
        if type(fact) is StepStarted or type(fact) is StepCompleted:  # nearly all that comes
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
            self._said((run, fact.node), recorded, due_at_of(fact))

    def _said(self, key: Key, recorded: Recorded, due_at: datetime | None) -> None:
        if due_at is None:
            self.due.pop(key, None)
            self.over[key] = recorded
        else:
            self.over.pop(key, None)
            self.due[key] = recorded, due_at

    async def write(self, cursor: Cursor) -> None:
        if self.closed:
            await cursor.execute(DELETE_OF_RUNS, {"runs": uuids(self.closed.values())})
        # A step that began within the batch cannot have a row: so most batches of busy runs touch nothing.
        over = [(one, key[1]) for key, one in self.over.items() if key not in self.begun]
        if over:
            runs, nodes = uuids(one.stream_id for one, _ in over), texts(node for _, node in over)
            await cursor.execute(DELETE, {"runs": runs, "nodes": nodes})
        if self.due:
            due = self.due.values()
            await cursor.execute(
                WRITE,
                {
                    "runs": uuids(one.stream_id for one, _ in due),
                    "nodes": texts(node for _, node in self.due),
                    "workspaces": uuids(one.workspace_id for one, _ in due),
                    "due_at": times(due_at for _, due_at in due),
                },
            )


def due_at_of(fact: Fact) -> datetime | None:
    """Give when a step is due by the clock because of this fact, if it is at all.

    An attempt that is due again at once (its owner was lost, say) needs no timer.
    """
    if isinstance(fact, StepWaiting):
        return fact.until
    if isinstance(fact, StepFailed) and fact.retry_at is not None and fact.retry_at > fact.failed_at:
        return fact.retry_at
    return None
