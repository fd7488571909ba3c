"""Rows of API keys, folded by the projects projection: one more follower of the log would cost every run."""

from collections.abc import Sequence
from typing import Final, get_args

from msgspec.json import Decoder

from domain.api_key import ApiKey, ApiKeyFact, evolve
from domain.fact import Fact
from projections.runtime.folding import Folding
from projections.runtime.projection import Cursor
from projections.runtime.skips import Skipped
from store.log.records import Recorded
from store.postgres.arrays import texts

LOAD: Final = """
select id, workspace_id, project_id, version, position, created_position, created_at, updated_at, document::text
  from api_keys
 where id = any (%(ids)b::uuid[])
"""
"""Read the API keys that are not cached."""

WRITE: Final = """
insert into api_keys (id, workspace_id, project_id, version, position, created_position, created_at, updated_at,
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
 where api_keys.version < excluded.version
"""
"""Write the API keys that changed, each once; an older version never replaces a newer one."""


class ApiKeyRows:
    """Folds the facts of API keys into rows."""

    tables = ("api_keys",)
    wants: frozenset[type[Fact]] = frozenset((*get_args(ApiKeyFact), Skipped))

    def __init__(self, *, most_remembered: int) -> None:
        """Create the folding; it caches `most_remembered` keys between batches."""
        self._folding = Folding(
            initial=ApiKey(), evolve=evolve, decoder=Decoder(ApiKey), load=LOAD, most_remembered=most_remembered
        )

    async def apply(self, cursor: Cursor, facts: Sequence[Recorded]) -> None:
        """Fold facts and write the API keys that changed. Raises Unfoldable."""
        keys = await self._folding.fold(cursor, facts)
        if keys:
            statuses = texts([key.state.status.value for key in keys])
            await cursor.execute(WRITE, {**self._folding.columns(keys), "statuses": statuses}, prepare=True)

    def forget(self) -> None:
        """Clear the cache."""
        self._folding.forget()
