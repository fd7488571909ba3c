"""Rows of a workspace table, folded by the projects projection: one more follower of the log would cost every run."""

from collections.abc import Sequence
from typing import Final, Generic, LiteralString

from msgspec.json import Decoder

from domain.fact import Fact
from projections.runtime.folding import BYTES_REMEMBERED, Folding
from projections.runtime.projection import Cursor
from projections.runtime.skips import Skipped
from projections.workspace_tables.table import S, WorkspaceTable
from store.log.records import Recorded
from store.postgres.arrays import texts

LOAD: Final = """
select id, workspace_id, project_id, version, position, created_position, created_at, updated_at, document::text
  from {table}
 where id = any (%(ids)b::uuid[])
"""
"""Read the rows that are not cached."""

WRITE: Final = """
insert into {table} (id, workspace_id, project_id, version, position, created_position, created_at, updated_at,
                     status, document)
select n.id, n.workspace, n.project, n.version, n.position, n.created_position, n.created_at, n.updated_at,
       n.status, n.document::json
  from unnest(%(ids)b::uuid[], %(workspaces)b::uuid[], %(projects)b::uuid[], %(versions)b::bigint[],
              %(positions)b::bigint[], %(created_positions)b::bigint[], %(created_at)b::timestamptz[],
              %(updated_at)b::timestamptz[], %(statuses)b::text[], %(documents)b::text[])
       as n (id, workspace, project, version, position, created_position, created_at, updated_at, status, document)
    on conflict (id) do update
   set version = excluded.version, position = excluded.position, updated_at = excluded.updated_at,
       status = excluded.status, document = excluded.document
 where {table}.version < excluded.version
"""
"""Write the rows that changed, each once; an older version never replaces a newer one."""


class WorkspaceRows(Generic[S]):
    """Folds the facts of one noun into the rows of its table."""

    def __init__(
        self, table: WorkspaceTable[S], *, most_remembered: int, bytes_remembered: int = BYTES_REMEMBERED
    ) -> None:
        """Create the folding; it caches `most_remembered` streams between batches."""
        self.wants: frozenset[type[Fact]] = frozenset((*table.facts, Skipped))
        self._write: LiteralString = WRITE.format(table=table.name)
        self._folding = Folding(
            initial=table.initial,
            evolve=table.evolve,
            decoder=Decoder(table.state),
            load=LOAD.format(table=table.name),
            most_remembered=most_remembered,
            bytes_remembered=bytes_remembered,
        )

    async def apply(self, cursor: Cursor, facts: Sequence[Recorded]) -> None:
        """Fold facts and write the rows that changed. Raises Unfoldable."""
        changed = await self._folding.fold(cursor, facts)
        if changed:
            statuses = texts([folded.state.status.value for folded in changed])
            await cursor.execute(self._write, {**self._folding.columns(changed), "statuses": statuses}, prepare=True)

    def forget(self) -> None:
        """Clear the cache."""
        self._folding.forget()
