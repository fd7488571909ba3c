"""The projects projection: one row for each project, folded; and one for each API key and announcement."""

from collections.abc import Sequence
from typing import Final, get_args

from msgspec.json import Decoder

from domain.fact import Fact
from domain.project import Project, ProjectFact, evolve
from projections.runtime.folding import BYTES_REMEMBERED, Folding
from projections.runtime.projection import Cursor
from projections.runtime.skips import Skipped
from projections.workspace_tables.rows import WorkspaceRows
from projections.workspace_tables.table import ANNOUNCEMENTS, API_KEYS
from store.log.records import Recorded
from store.postgres.arrays import texts, uuids

LOAD: Final = """
select id, workspace_id, project_id, version, position, created_position, created_at, updated_at, document::text
  from projects
 where id = any (%(ids)b::uuid[])
"""
"""Read the projects that are not cached."""

WRITE: Final = """
insert into projects (id, workspace_id, project_id, version, position, created_position, created_at, updated_at,
                      status, name, members, document)
select n.id, n.workspace, n.project, n.version, n.position, n.created_position, n.created_at, n.updated_at,
       n.status, n.name, array(select json_object_keys(n.document::json -> 'team')), n.document::json
  from unnest(%(ids)b::uuid[], %(workspaces)b::uuid[], %(projects)b::uuid[], %(versions)b::bigint[],
              %(positions)b::bigint[], %(created_positions)b::bigint[], %(created_at)b::timestamptz[],
              %(updated_at)b::timestamptz[], %(statuses)b::text[], %(names)b::text[], %(documents)b::text[])
       as n (id, workspace, project, version, position, created_position, created_at, updated_at, status, name,
             document)
    on conflict (id) do update
   set version = excluded.version, position = excluded.position, updated_at = excluded.updated_at,
       status = excluded.status, name = excluded.name, members = excluded.members,
       document = excluded.document
 where projects.version < excluded.version
"""
"""Write the projects that changed, each once; an older version never replaces a newer one."""


FORGET_MEMBERS: Final = "delete from project_members where project_id = any (%(ids)b::uuid[])"
"""Remove the members of the projects that changed."""

WRITE_MEMBERS: Final = """
insert into project_members (workspace_id, user_id, project_id, role)
select p.workspace_id, member.key, p.id, member.value
  from projects as p
 cross join json_each_text(p.document -> 'team') as member
 where p.id = any (%(ids)b::uuid[])
"""
"""Write the members of the projects that changed."""


KINDS: Final = 3
"""The kinds of streams that this projection caches."""
OWN: Final[frozenset[type[Fact]]] = frozenset((*get_args(ProjectFact), Skipped))


class ProjectsProjection:
    """Folds the facts of projects, and those of API keys and announcements, which are as rare."""

    name = "projects"
    tables = ("projects", "project_members", API_KEYS.name, ANNOUNCEMENTS.name)
    wants: frozenset[type[Fact]] = OWN.union(API_KEYS.facts, ANNOUNCEMENTS.facts)

    def __init__(self, *, most_remembered: int, bytes_remembered: int = BYTES_REMEMBERED) -> None:
        """Create the projection; it caches `most_remembered` streams of each kind between batches."""
        self._others = (
            WorkspaceRows(API_KEYS, most_remembered=most_remembered, bytes_remembered=bytes_remembered // KINDS),
            WorkspaceRows(ANNOUNCEMENTS, most_remembered=most_remembered, bytes_remembered=bytes_remembered // KINDS),
        )
        self._folding = Folding(
            initial=Project(),
            evolve=evolve,
            decoder=Decoder(Project),
            load=LOAD,
            most_remembered=most_remembered,
            bytes_remembered=bytes_remembered // KINDS,
        )

    async def apply(self, cursor: Cursor, facts: Sequence[Recorded]) -> None:
        """Fold facts and write what changed. Raises Unfoldable."""
        for rows in self._others:
            theirs = [fact for fact in facts if type(fact.fact) in rows.wants]
            if theirs:
                await rows.apply(cursor, theirs)
        projects = await self._folding.fold(cursor, [fact for fact in facts if type(fact.fact) in OWN])
        if projects:
            await cursor.execute(
                WRITE,
                {
                    **self._folding.columns(projects),
                    "statuses": texts([project.state.status.value for project in projects]),
                    "names": texts([project.state.name for project in projects]),
                },
                prepare=True,
            )
            changed = {"ids": uuids([project.stream_id for project in projects])}
            await cursor.execute(FORGET_MEMBERS, changed)
            await cursor.execute(WRITE_MEMBERS, changed)

    def forget(self) -> None:
        """Clear the caches."""
        self._folding.forget()
        for rows in self._others:
            rows.forget()
