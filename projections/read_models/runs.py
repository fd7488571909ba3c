"""The runs projection: one row for each run, folded; it is on the hot path."""

from collections.abc import Sequence
from typing import Final, get_args

from msgspec.json import Decoder, Encoder

from domain.fact import Fact
from domain.runs.facts import RunFact
from domain.runs.run import Run, evolve
from projections.runtime.folding import BYTES_REMEMBERED, Folding
from projections.runtime.projection import Cursor
from projections.runtime.skips import Skipped
from store.log.records import Recorded
from store.postgres.arrays import booleans, documents, texts, uuids

LOAD: Final = """
select id, workspace_id, project_id, version, position, created_position, created_at, updated_at, document::text
  from runs
 where id = any (%(ids)b::uuid[])
"""
"""Read the runs that are not cached."""

WRITE: Final = """
insert into runs (id, workspace_id, project_id, workflow_id, version, position, created_position, created_at,
                  updated_at, status, waits_for_children, cancel_requested, parent_run_id, labels, document)
select n.id, n.workspace, n.project, n.workflow, n.version, n.position, n.created_position, n.created_at,
       n.updated_at, n.status, n.waits_for_children, n.cancel_requested, n.parent, n.labels::jsonb, n.document::json
  from unnest(%(ids)b::uuid[], %(workspaces)b::uuid[], %(projects)b::uuid[], %(workflows)b::uuid[],
              %(versions)b::bigint[], %(positions)b::bigint[], %(created_positions)b::bigint[],
              %(created_at)b::timestamptz[], %(updated_at)b::timestamptz[], %(statuses)b::text[],
              %(waits_for_children)b::boolean[], %(cancel_requested)b::boolean[],
              %(parents)b::uuid[], %(labels)b::text[], %(documents)b::text[])
       as n (id, workspace, project, workflow, version, position, created_position, created_at, updated_at, status,
             waits_for_children, cancel_requested, parent, labels, document)
    on conflict (id) do update
   set version = excluded.version, position = excluded.position, updated_at = excluded.updated_at,
       status = excluded.status, waits_for_children = excluded.waits_for_children,
       cancel_requested = excluded.cancel_requested, document = excluded.document
 where runs.version < excluded.version
"""
"""Write the runs that changed, each once; an older version never replaces a newer one."""


_encode: Final = Encoder().encode


class RunsProjection:
    """Folds the facts of runs."""

    name = "runs"
    tables = ("runs",)
    wants: frozenset[type[Fact]] = frozenset((*get_args(RunFact), Skipped))

    def __init__(self, *, most_remembered: int, bytes_remembered: int = BYTES_REMEMBERED) -> None:
        """Create the projection; it caches `most_remembered` runs between batches."""
        self._folding = Folding(
            initial=Run(),
            evolve=evolve,
            decoder=Decoder(Run),
            load=LOAD,
            most_remembered=most_remembered,
            bytes_remembered=bytes_remembered,
        )

    async def apply(self, cursor: Cursor, facts: Sequence[Recorded]) -> None:
        """Fold facts and write the runs that changed. Raises Unfoldable."""
        runs = await self._folding.fold(cursor, facts)
        if runs:
            await cursor.execute(
                WRITE,
                {
                    **self._folding.columns(runs),
                    "workflows": uuids([run.state.workflow_id for run in runs]),
                    "statuses": texts([run.state.status for run in runs]),
                    "waits_for_children": booleans([run.state.waits_for_children for run in runs]),
                    "parents": uuids([None if run.state.parent is None else run.state.parent.run_id for run in runs]),
                    "labels": documents([_encode(run.state.labels) if run.state.labels else b"{}" for run in runs]),
                    "cancel_requested": booleans([run.state.cancel_requested for run in runs]),
                },
                prepare=True,
            )

    def forget(self) -> None:
        """Clear the cache."""
        self._folding.forget()
