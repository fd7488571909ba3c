"""The history projection: which facts each project has, so that an auditor's page costs no search through the log."""

from collections.abc import Sequence
from typing import Final, get_args

from domain.catalogue import AnyFact
from domain.fact import Fact, topic_of
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
"""Write facts that a project has; they never change."""

_topics: Final = {kind: topic_of(kind) for kind in get_args(AnyFact)}


class HistoryProjection:
    """Notes every fact of a project. What is of a workspace alone is in no project's history."""

    name = "history"
    tables = ("history",)
    wants: frozenset[type[Fact]] = frozenset(_topics)

    async def apply(self, cursor: Cursor, facts: Sequence[Recorded]) -> None:
        """Write what is new."""
        of_projects = [one for one in facts if one.project_id is not None]
        if not of_projects:
            return
        actors = [one.metadata.actor for one in of_projects]
        await cursor.execute(
            WRITE,
            {
                "projects": uuids([one.project_id for one in of_projects]),
                "positions": longs([one.position for one in of_projects]),
                "workspaces": uuids([one.workspace_id for one in of_projects]),
                "streams": uuids([one.stream_id for one in of_projects]),
                "topics": texts([_topics[type(one.fact)] for one in of_projects]),
                "actor_kinds": texts([actor.kind for actor in actors]),
                "actor_ids": texts([actor.id for actor in actors]),
                "recorded_at": times([one.recorded_at for one in of_projects]),
            },
            prepare=True,
        )

    def forget(self) -> None:
        """Remember nothing, as always."""
