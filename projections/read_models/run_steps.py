"""The run steps projection: one row for each step of a run, with its times, attempts and usage."""

from collections.abc import Iterable, Sequence
from typing import Final, cast, get_args
from uuid import UUID

from domain.fact import Fact
from domain.runs.facts import (
    RunCancelled,
    RunCancelRequested,
    RunCompleted,
    RunFact,
    RunFailed,
    RunRetried,
    RunSignalled,
    RunStarted,
    StepCompleted,
    StepStarted,
)
from domain.runs.steps import SETTLED
from projections.runtime.folding import BYTES_REMEMBERED
from projections.runtime.projection import Cursor, Unfoldable
from projections.timelines.run_timeline import RunTimeline, StepTimeline, UsageTotals
from projections.timelines.run_timeline_cache import RunTimelineCache
from store.log.records import Recorded
from store.postgres.arrays import Column, longs, texts, times, uuids

DELETE: Final = """
delete from run_steps s
 using unnest(%(runs)b::uuid[], %(nodes)b::text[]) as n (run, node)
 where s.run_id = n.run and s.node = n.node
"""
"""Delete the steps that a retry of their run restarts."""

WRITE: Final = """
insert into run_steps (run_id, node, workspace_id, project_id, workflow_id, workflow_version, position, kind, status,
                       attempt, first_started_at, started_at, ended_at, waiting_for, waiting_since, decided_at,
                       error_class, model, asset_id, asset_version, calls, input_tokens, output_tokens, cost_pico)
select n.run, n.node, n.workspace, n.project, n.workflow, n.workflow_version, n.position, nullif(n.kind, ''), n.status,
       n.attempt, n.first_started_at, n.started_at, n.ended_at, nullif(n.waiting_for, ''), n.waiting_since,
       n.decided_at, nullif(n.error_class, ''), nullif(n.model, ''), n.asset, n.asset_version, n.calls,
       n.input_tokens, n.output_tokens, n.cost
  from unnest(%(runs)b::uuid[], %(nodes)b::text[], %(workspaces)b::uuid[], %(projects)b::uuid[],
              %(workflows)b::uuid[], %(workflow_versions)b::bigint[], %(positions)b::bigint[], %(kinds)b::text[],
              %(statuses)b::text[], %(attempts)b::bigint[], %(first_started_at)b::timestamptz[],
              %(started_at)b::timestamptz[], %(ended_at)b::timestamptz[], %(waiting_for)b::text[],
              %(waiting_since)b::timestamptz[], %(decided_at)b::timestamptz[], %(error_classes)b::text[],
              %(models)b::text[], %(assets)b::uuid[], %(asset_versions)b::bigint[], %(calls)b::bigint[],
              %(input_tokens)b::bigint[], %(output_tokens)b::bigint[], %(costs)b::bigint[])
       as n (run, node, workspace, project, workflow, workflow_version, position, kind, status, attempt,
             first_started_at, started_at, ended_at, waiting_for, waiting_since, decided_at, error_class, model, asset,
             asset_version, calls, input_tokens, output_tokens, cost)
    on conflict (run_id, node) do update
   set workflow_version = excluded.workflow_version, position = excluded.position, kind = excluded.kind,
       status = excluded.status, attempt = excluded.attempt, first_started_at = excluded.first_started_at,
       started_at = excluded.started_at, ended_at = excluded.ended_at, waiting_for = excluded.waiting_for,
       waiting_since = excluded.waiting_since, decided_at = excluded.decided_at, error_class = excluded.error_class,
       model = excluded.model, asset_id = excluded.asset_id, asset_version = excluded.asset_version,
       calls = excluded.calls, input_tokens = excluded.input_tokens, output_tokens = excluded.output_tokens,
       cost_pico = excluded.cost_pico
 where run_steps.position < excluded.position
"""
"""Write the steps that changed, each once; an older state never replaces a newer one."""

NO_USAGE: Final = UsageTotals()
PICO_MAX: Final = 2**63 - 1

Key = tuple[int, str]


class RunStepsProjection:
    """Tracks the steps of runs."""

    name = "run_steps"
    tables = ("run_steps",)
    wants: frozenset[type[Fact]] = frozenset(get_args(RunFact))

    def __init__(self, *, most_remembered: int, bytes_remembered: int = BYTES_REMEMBERED) -> None:
        """Create the projection; it caches `most_remembered` runs between batches."""
        self._timelines = RunTimelineCache(
            self.name, most_remembered=most_remembered, bytes_remembered=bytes_remembered
        )

    async def apply(self, cursor: Cursor, facts: Sequence[Recorded]) -> None:
        """Fold facts and write the steps that changed. Raises Unfoldable."""
        batch = _Changes()
        for timeline, events in await self._timelines.prepare(cursor, facts):
            self._fold_run(batch, timeline, events)
        self._timelines.trim()
        await batch.write(cursor)

    def forget(self) -> None:
        """Clear the cache."""
        self._timelines.forget()

    def _fold_run(self, batch: "_Changes", timeline: RunTimeline, events: Sequence[Recorded]) -> None:
        """Fold the facts of one run and add its changed steps to the batch. Raises Unfoldable."""
        changed: dict[str, int] = {}
        for event in events:
            if event.version <= timeline.version:
                continue
            fact = event.fact
            try:
                if type(fact) is StepStarted or type(fact) is StepCompleted:  # nearly all facts
                    changed[fact.node] = event.position
                else:
                    self._note_rare_changes(batch, timeline, changed, event)
                self._timelines.apply(timeline, event)
            except Exception as fault:
                raise Unfoldable(event, repr(fault)) from fault
        steps = timeline.steps
        batch.rows += [(timeline, node, steps[node], position) for node, position in changed.items() if node in steps]

    @staticmethod
    def _note_rare_changes(batch: "_Changes", timeline: RunTimeline, changed: dict[str, int], event: Recorded) -> None:
        """Note which steps of a run a rarer fact is about to change and which it deletes."""
        fact = cast("RunFact", event.fact)
        nodes: Iterable[str] = ()
        dropped: Iterable[str] = ()
        match fact:
            case RunStarted():
                dropped = tuple(timeline.steps)
            case RunRetried():
                nodes = tuple(node for node in fact.outputs_kept if node in timeline.steps)
                dropped = tuple(node for node in timeline.steps if node not in (*fact.kept, *nodes))
            case RunFailed() | RunCancelled():
                nodes = tuple(node for node, step in timeline.steps.items() if step.status not in SETTLED)
            case RunCompleted() | RunCancelRequested() | RunSignalled():
                pass
            case _:
                nodes = (fact.node,)
        for node in dropped:
            batch.dropped[timeline.id.int, node] = timeline.id
        for node in nodes:
            changed[node] = event.position


class _Changes:
    """The net changes of a batch: the steps that changed and those that were deleted."""

    def __init__(self) -> None:
        self.rows: list[tuple[RunTimeline, str, StepTimeline, int]] = []
        self.dropped: dict[Key, UUID] = {}

    async def write(self, cursor: Cursor) -> None:
        if self.dropped:
            runs, nodes = uuids(self.dropped.values()), texts(node for _, node in self.dropped)
            await cursor.execute(DELETE, {"runs": runs, "nodes": nodes}, prepare=True)
        if self.rows:
            await cursor.execute(WRITE, _columns(self.rows), prepare=True)


def _columns(rows: Sequence[tuple[RunTimeline, str, StepTimeline, int]]) -> dict[str, Column]:
    runs = [row[0] for row in rows]
    steps = [row[2] for row in rows]
    usage = [step.spent or NO_USAGE for step in steps]
    first_started_at, started_at = [step.first_started_at for step in steps], [step.started_at for step in steps]
    started = times(started_at)
    return {
        "runs": uuids([run.id for run in runs]),
        "nodes": texts([row[1] for row in rows]),
        "workspaces": uuids([run.workspace_id for run in runs]),
        "projects": uuids([run.project_id for run in runs]),
        "workflows": uuids([run.workflow_id for run in runs]),
        "workflow_versions": longs([step.workflow_version for step in steps]),
        "positions": longs([row[3] for row in rows]),
        "kinds": texts([step.kind for step in steps]),
        "statuses": texts([step.status for step in steps]),
        "attempts": longs([step.attempt for step in steps]),
        "first_started_at": started if first_started_at == started_at else times(first_started_at),
        "started_at": started,
        "ended_at": times([step.ended_at for step in steps]),
        "waiting_for": texts([step.waiting_for or "" for step in steps]),
        "waiting_since": times([step.waiting_since for step in steps]),
        "decided_at": times([step.decided_at for step in steps]),
        "error_classes": texts([step.error_class or "" for step in steps]),
        "models": texts([step.model or "" for step in steps]),
        "assets": uuids([step.asset_id for step in steps]),
        "asset_versions": longs([step.asset_version for step in steps]),
        "calls": longs([totals.calls for totals in usage]),
        "input_tokens": longs([totals.input_tokens for totals in usage]),
        "output_tokens": longs([totals.output_tokens for totals in usage]),
        "costs": longs([min(totals.cost_pico, PICO_MAX) for totals in usage]),
    }
