"""The history projection: an index of the facts of each project, so that a page of its history needs no log scan."""

from collections.abc import Sequence
from typing import Final, get_args

from domain.catalogue import AnyFact
from domain.fact import Fact, get_topic
from projections.runtime.projection import Cursor
from store.log.records import Recorded
from store.postgres.arrays import longs, texts, times, uuids

WRITE: Final = """
insert into history (project_id, position, workspace_id, stream_id, topic, actor_kind, actor_id, recorded_at)
select n.project, n.position, n.workspace, n.stream, n.topic, n.actor_kind, n.actor_id, n.recorded_at
  from unnest(%(projects)b::uuid[], %(positions)b::bigint[], %(workspaces)b::uuid[], %(streams)b::uuid[],
              %(topics)b::text[], %(actor_kinds)b::text[], %(actor_ids)b::text[], %(recorded_at)b::timestamptz[])
       as n (project, position, workspace, stream, topic, actor_kind, actor_id, recorded_at)
    on conflict do nothing
"""
"""Write the index rows of facts; they never change."""

_topics: Final = {kind: get_topic(kind) for kind in get_args(AnyFact)}


class HistoryProjection:
    """Records every fact of a project. Facts of a workspace alone are in no project's history."""

    name = "history"
    tables = ("history",)
    wants: frozenset[type[Fact]] = frozenset(_topics)

    async def apply(self, cursor: Cursor, facts: Sequence[Recorded]) -> None:
        """Write a row for each fact of a project."""
        events_of_projects = [event for event in facts if event.project_id is not None]
        if not events_of_projects:
            return
        actors = [event.metadata.actor for event in events_of_projects]
        await cursor.execute(
            WRITE,
            {
                "projects": uuids([event.project_id for event in events_of_projects]),
                "positions": longs([event.position for event in events_of_projects]),
                "workspaces": uuids([event.workspace_id for event in events_of_projects]),
                "streams": uuids([event.stream_id for event in events_of_projects]),
                "topics": texts([_topics[type(event.fact)] for event in events_of_projects]),
                "actor_kinds": texts([actor.kind for actor in actors]),
                "actor_ids": texts([actor.id for actor in actors]),
                "recorded_at": times([event.recorded_at for event in events_of_projects]),
            },
            prepare=True,
        )

    def forget(self) -> None:
        """Return at once: nothing is cached."""
