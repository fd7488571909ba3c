"""The buckets of insights: their keys, and how the changed ones are read, merged and written."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID

from msgspec import Struct
from msgspec.json import Decoder, Encoder

from projections.insights.measures import Measures
from projections.runtime.projection import Cursor
from store.lru import LruCache
from store.postgres.arrays import Column, documents, ints, longs, texts, times, uuids

LOAD: Final = """
select n.place, b.measures::text
  from unnest(%(places)b::bigint[], %(projects)b::uuid[], %(grains)b::int[], %(starts)b::timestamptz[],
              %(kinds)b::text[], %(workflows)b::uuid[], %(versions)b::bigint[], %(nodes)b::text[], %(models)b::text[],
              %(asset_versions)b::bigint[])
       as n (place, project, grain, starts_at, kind, workflow, version, node, model, asset_version)
 cross join lateral (
       select measures
         from insight_buckets
        where project_id = n.project and grain = n.grain and starts_at = n.starts_at and kind = n.kind
          and workflow_id = n.workflow and workflow_version = n.version and node = n.node and model = n.model
          and asset_version = n.asset_version
        limit 1) as b
"""
"""Read the buckets that are not cached; the inner limit makes the planner use the index."""

WRITE: Final = """
insert into insight_buckets (project_id, grain, starts_at, kind, workflow_id, workflow_version, node, model,
                             asset_version, asset_id, workspace_id, measures)
select n.project, n.grain, n.starts_at, n.kind, n.workflow, n.version, n.node, n.model, n.asset_version, n.asset,
       n.workspace, n.measures::json
  from unnest(%(projects)b::uuid[], %(grains)b::int[], %(starts)b::timestamptz[], %(kinds)b::text[],
              %(workflows)b::uuid[], %(versions)b::bigint[], %(nodes)b::text[], %(models)b::text[],
              %(asset_versions)b::bigint[], %(assets)b::uuid[], %(workspaces)b::uuid[], %(measures)b::text[])
       as n (project, grain, starts_at, kind, workflow, version, node, model, asset_version, asset, workspace, measures)
    on conflict (project_id, grain, starts_at, kind, workflow_id, workflow_version, node, model, asset_version)
    do update set measures = excluded.measures
"""
"""Write the buckets that changed, each once and complete."""

HOUR: Final = 3_600
DAY: Final = 86_400
GRAINS: Final = (HOUR, DAY)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
AN_HOUR: Final = timedelta(seconds=HOUR)

_decoder: Final = Decoder(Measures)
_encode: Final = Encoder().encode


class Kind(StrEnum):
    """Subject of a bucket: runs started by callers, runs started by a step, a step, or model calls."""

    RUN = "run"
    CHILD = "child"
    STEP = "step"
    MODEL = "model"


class Place(NamedTuple):
    """The key of a bucket without its time. Ids are integers: a UUID's hash is slow."""

    project: int
    workflow: int
    kind: Kind
    version: int
    node: str = ""
    model: str = ""
    asset_version: int = 0


class Origin(Struct, frozen=True):
    """The columns of a bucket that follow from its place."""

    workspace_id: UUID
    asset_id: UUID | None = None


Dated = tuple[Place, int, int]
"""A place with a grain and the number of the bucket since 1970."""


class Buckets:
    """A write-through cache of buckets; the least recently used are evicted."""

    def __init__(self, *, most_remembered: int) -> None:
        """Create an empty cache of `most_remembered` buckets."""
        self._remembered = LruCache[Dated, Measures](most_remembered)

    def forget(self) -> None:
        """Clear the cache."""
        self._remembered.clear()

    async def add(
        self, cursor: Cursor, added: Mapping[tuple[Place, int], Measures], origins: Mapping[Place, Origin]
    ) -> None:
        """Add new measures, by place and hour, to the buckets of the hour and the day, and write these."""
        changed: dict[Dated, list[Measures]] = {}
        for (place, hour), measures in added.items():
            changed.setdefault((place, HOUR, hour), []).append(measures)
            changed.setdefault((place, DAY, hour * HOUR // DAY), []).append(measures)
        await self._load(cursor, [dated for dated in changed if dated not in self._remembered])
        totals = {dated: self._merge(dated, parts) for dated, parts in changed.items()}
        await cursor.execute(WRITE, _rows(totals, origins), prepare=True)
        self._remembered.trim()

    def _merge(self, dated: Dated, parts: Iterable[Measures]) -> Measures:
        total = self._remembered.get(dated)
        if total is None:
            total = Measures()
            self._remembered.put_unbounded(dated, total)
        for measures in parts:
            total.merge(measures)
        return total

    async def _load(self, cursor: Cursor, missing: list[Dated]) -> None:
        if not missing:
            return
        await cursor.execute(LOAD, {"places": longs(range(len(missing))), **_keys(missing)}, prepare=True)
        for row in await cursor.fetchall():
            index: int = row[0]
            self._remembered.put_unbounded(missing[index], _decoder.decode(row[1]))


def compute_hour(at: datetime) -> int:
    """Return the number of the hour of a time, counted from 1970."""
    return (
        at - EPOCH
    ) // AN_HOUR  # in integers: as a float the end of an hour falls into the next one some centuries on


def compute_bucket_start(grain: int, number: int) -> datetime:
    """Return the start of a bucket."""
    return EPOCH + timedelta(seconds=number * grain)


def _rows(totals: Mapping[Dated, Measures], origins: Mapping[Place, Origin]) -> dict[str, Column]:
    order = list(totals)
    return {
        **_keys(order),
        "assets": uuids(origins[place].asset_id for place, _, _ in order),
        "workspaces": uuids(origins[place].workspace_id for place, _, _ in order),
        "measures": documents(_encode(measures.sort_keys()) for measures in totals.values()),
    }


def _keys(order: list[Dated]) -> dict[str, Column]:
    places = [place for place, _, _ in order]
    return {
        "projects": uuids(UUID(int=place.project) for place in places),
        "grains": ints(grain for _, grain, _ in order),
        "starts": times(compute_bucket_start(grain, number) for _, grain, number in order),
        "kinds": texts(place.kind.value for place in places),
        "workflows": uuids(UUID(int=place.workflow) for place in places),
        "versions": longs(place.version for place in places),
        "nodes": texts(place.node for place in places),
        "models": texts(place.model for place in places),
        "asset_versions": longs(place.asset_version for place in places),
    }
