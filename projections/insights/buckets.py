"""The buckets of insights: where each has its place, and how those that changed are read, added to and written."""

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
"""Read the buckets that are not remembered; the limit within keeps the planner to the index."""

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
"""Write the buckets that changed, each once, whole."""

HOUR: Final = 3_600
DAY: Final = 86_400
GRAINS: Final = (HOUR, DAY)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
AN_HOUR: Final = timedelta(seconds=HOUR)

_decoder: Final = Decoder(Measures)
_encode: Final = Encoder().encode


class Kind(StrEnum):
    """What a bucket is of: runs that somebody started, runs begun by a step, a step, calls of a model."""

    RUN = "run"
    CHILD = "child"
    STEP = "step"
    MODEL = "model"


class Place(NamedTuple):
    """What a bucket is of, without its time. Ids are integers: a UUID's hash is slow."""

    project: int
    workflow: int
    kind: Kind
    version: int
    node: str = ""
    model: str = ""
    asset_version: int = 0


class Origin(Struct, frozen=True):
    """What else stands in the row of a bucket and follows from its place."""

    workspace_id: UUID
    asset_id: UUID | None = None


Dated = tuple[Place, int, int]
"""A place with a grain and the number of the bucket since 1970."""


class Buckets:
    """The buckets that a projection remembers, bounded: what was used longest ago goes first."""

    def __init__(self, *, most_remembered: int) -> None:
        """Remember so many buckets, at most."""
        self._remembered = LruCache[Dated, Measures](most_remembered)

    def forget(self) -> None:
        """Remember nothing."""
        self._remembered.clear()

    async def add(
        self, cursor: Cursor, news: Mapping[tuple[Place, int], Measures], origins: Mapping[Place, Origin]
    ) -> None:
        """Add what is new by place and hour to the hours and the days, and write those."""
        changed: dict[Dated, list[Measures]] = {}
        for (place, hour), measures in news.items():
            changed.setdefault((place, HOUR, hour), []).append(measures)
            changed.setdefault((place, DAY, hour * HOUR // DAY), []).append(measures)
        await self._load(cursor, [one for one in changed if one not in self._remembered])
        totals = {dated: self._merge(dated, added) for dated, added in changed.items()}
        await cursor.execute(WRITE, _rows(totals, origins), prepare=True)
        self._remembered.trim()

    def _merge(self, dated: Dated, added: Iterable[Measures]) -> Measures:
        total = self._remembered.get(dated)
        if total is None:
            total = Measures()
            self._remembered.put_unbounded(dated, total)
        for measures in added:
            total.merge(measures)
        return total

    async def _load(self, cursor: Cursor, missing: list[Dated]) -> None:
        if not missing:
            return
        await cursor.execute(LOAD, {"places": longs(range(len(missing))), **_keys(missing)}, prepare=True)
        for row in await cursor.fetchall():
            index: int = row[0]
            self._remembered.put_unbounded(missing[index], _decoder.decode(row[1]))


def hour_of(at: datetime) -> int:
    """Give the number of the hour that a time is in, since 1970."""
    return (at - EPOCH) // AN_HOUR  # not by a float, in which some centuries on the end of an hour is in the next


def start_of(grain: int, number: int) -> datetime:
    """Give when a bucket starts."""
    return EPOCH + timedelta(seconds=number * grain)


def _rows(totals: Mapping[Dated, Measures], origins: Mapping[Place, Origin]) -> dict[str, Column]:
    order = list(totals)
    return {
        **_keys(order),
        "assets": uuids(origins[place].asset_id for place, _, _ in order),
        "workspaces": uuids(origins[place].workspace_id for place, _, _ in order),
        "measures": documents(_encode(measures.in_order()) for measures in totals.values()),
    }


def _keys(order: list[Dated]) -> dict[str, Column]:
    places = [place for place, _, _ in order]
    return {
        "projects": uuids(UUID(int=place.project) for place in places),
        "grains": ints(grain for _, grain, _ in order),
        "starts": times(start_of(grain, number) for _, grain, number in order),
        "kinds": texts(place.kind.value for place in places),
        "workflows": uuids(UUID(int=place.workflow) for place in places),
        "versions": longs(place.version for place in places),
        "nodes": texts(place.node for place in places),
        "models": texts(place.model for place in places),
        "asset_versions": longs(place.asset_version for place in places),
    }
