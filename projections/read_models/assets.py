"""The assets projection: one row for each asset, folded, and one for each version of its content."""

from collections.abc import Sequence
from typing import Final, get_args

from msgspec.json import Decoder

from domain.asset import Asset, AssetFact, evolve, get_new_content
from domain.fact import Fact
from projections.runtime.folding import BYTES_REMEMBERED, Folding
from projections.runtime.projection import Cursor
from projections.runtime.skips import Skipped
from projections.runtime.versions import NumberedVersion, pack_versions
from store.log.records import Recorded
from store.postgres.arrays import texts

LOAD: Final = """
select id, workspace_id, project_id, version, position, created_position, created_at, updated_at, document::text
  from assets
 where id = any (%(ids)b::uuid[])
"""
"""Read the assets that are not cached."""

WRITE: Final = """
insert into assets (id, workspace_id, project_id, version, position, created_position, created_at, updated_at,
                    status, type, label, document)
select n.id, n.workspace, n.project, n.version, n.position, n.created_position, n.created_at, n.updated_at,
       n.status, n.type, n.label, n.document::json
  from unnest(%(ids)b::uuid[], %(workspaces)b::uuid[], %(projects)b::uuid[], %(versions)b::bigint[],
              %(positions)b::bigint[], %(created_positions)b::bigint[], %(created_at)b::timestamptz[],
              %(updated_at)b::timestamptz[], %(statuses)b::text[], %(types)b::text[], %(labels)b::text[],
              %(documents)b::text[])
       as n (id, workspace, project, version, position, created_position, created_at, updated_at, status, type,
             label, document)
    on conflict (id) do update
   set version = excluded.version, position = excluded.position, updated_at = excluded.updated_at,
       status = excluded.status, type = excluded.type, label = excluded.label, document = excluded.document
 where assets.version < excluded.version
"""
"""Write the assets that changed, each once; an older version never replaces a newer one."""

WRITE_VERSIONS: Final = """
insert into asset_versions (asset_id, workspace_id, number, position, created_at, document)
select n.stream, n.workspace, n.number, n.position, n.created_at, n.document::json
  from unnest(%(streams)b::uuid[], %(workspaces)b::uuid[], %(numbers)b::bigint[], %(positions)b::bigint[],
              %(created_at)b::timestamptz[], %(documents)b::text[])
       as n (stream, workspace, number, position, created_at, document)
    on conflict (asset_id, number) do nothing
"""
"""Write the versions of contents; they never change."""


class AssetsProjection:
    """Folds the facts of assets."""

    name = "assets"
    tables = ("assets", "asset_versions")
    wants: frozenset[type[Fact]] = frozenset((*get_args(AssetFact), Skipped))

    def __init__(self, *, most_remembered: int, bytes_remembered: int = BYTES_REMEMBERED) -> None:
        """Create the projection; it caches `most_remembered` assets between batches."""
        self._folding = Folding(
            initial=Asset(),
            evolve=evolve,
            decoder=Decoder(Asset),
            load=LOAD,
            most_remembered=most_remembered,
            bytes_remembered=bytes_remembered,
        )

    async def apply(self, cursor: Cursor, facts: Sequence[Recorded]) -> None:
        """Fold facts and write the assets that changed, and their new versions. Raises Unfoldable."""
        assets = await self._folding.fold(cursor, facts)
        if assets:
            await cursor.execute(
                WRITE,
                {
                    **self._folding.columns(assets),
                    "statuses": texts([asset.state.status.value for asset in assets]),
                    "types": texts([asset.state.type.value for asset in assets]),
                    "labels": texts([asset.state.label for asset in assets]),
                },
                prepare=True,
            )
        contents = pack_versions(facts, _content)
        if contents is not None:
            await cursor.execute(WRITE_VERSIONS, contents, prepare=True)

    def forget(self) -> None:
        """Clear the cache."""
        self._folding.forget()


def _content(fact: Fact) -> NumberedVersion:
    return get_new_content(fact) if isinstance(fact, AssetFact) else None
