"""The workflows projection: one row for each workflow with its newest run, and one for each version."""

from collections.abc import Sequence
from typing import Final, get_args
from uuid import UUID

from msgspec.json import Decoder

from domain.fact import Fact
from domain.runs.facts import RunStarted
from domain.workflow import Workflow, WorkflowFact, evolve, get_new_graph
from projections.runtime.folding import BYTES_REMEMBERED, Folding
from projections.runtime.projection import Cursor
from projections.runtime.skips import Skipped
from projections.runtime.versions import NumberedVersion, pack_versions
from store.log.records import Recorded
from store.postgres.arrays import texts, uuids

LOAD: Final = """
select id, workspace_id, project_id, version, position, created_position, created_at, updated_at, document::text
  from workflows
 where id = any (%(ids)b::uuid[])
"""
"""Read the workflows that are not cached."""

WRITE: Final = """
insert into workflows (id, workspace_id, project_id, version, position, created_position, created_at, updated_at,
                       status, name, document)
select n.id, n.workspace, n.project, n.version, n.position, n.created_position, n.created_at, n.updated_at,
       n.status, n.name, n.document::json
  from unnest(%(ids)b::uuid[], %(workspaces)b::uuid[], %(projects)b::uuid[], %(versions)b::bigint[],
              %(positions)b::bigint[], %(created_positions)b::bigint[], %(created_at)b::timestamptz[],
              %(updated_at)b::timestamptz[], %(statuses)b::text[], %(names)b::text[], %(documents)b::text[])
       as n (id, workspace, project, version, position, created_position, created_at, updated_at, status, name,
             document)
    on conflict (id) do update
   set version = excluded.version, position = excluded.position, updated_at = excluded.updated_at,
       status = excluded.status, name = excluded.name, document = excluded.document
 where workflows.version < excluded.version
"""
"""Write the workflows that changed, each once; an older version never replaces a newer one."""

WRITE_VERSIONS: Final = """
insert into workflow_versions (workflow_id, workspace_id, number, position, created_at, document)
select n.stream, n.workspace, n.number, n.position, n.created_at, n.document::json
  from unnest(%(streams)b::uuid[], %(workspaces)b::uuid[], %(numbers)b::bigint[], %(positions)b::bigint[],
              %(created_at)b::timestamptz[], %(documents)b::text[])
       as n (stream, workspace, number, position, created_at, document)
    on conflict (workflow_id, number) do nothing
"""
"""Write the versions of graphs; they never change."""

WRITE_LAST_RUNS: Final = """
update workflows w
   set last_run_id = n.run
  from unnest(%(workflows)b::uuid[], %(runs)b::uuid[]) as n (workflow, run)
 where w.id = n.workflow
"""
"""Write the newest run of each workflow; the workflow's own version and position stay."""


class WorkflowsProjection:
    """Folds the facts of workflows, and `run.started` for the newest run of each."""

    name = "workflows"
    tables = ("workflows", "workflow_versions")
    wants: frozenset[type[Fact]] = frozenset((*get_args(WorkflowFact), RunStarted, Skipped))

    def __init__(self, *, most_remembered: int, bytes_remembered: int = BYTES_REMEMBERED) -> None:
        """Create the projection; it caches `most_remembered` workflows between batches."""
        self._folding = Folding(
            initial=Workflow(),
            evolve=evolve,
            decoder=Decoder(Workflow),
            load=LOAD,
            most_remembered=most_remembered,
            bytes_remembered=bytes_remembered,
        )

    async def apply(self, cursor: Cursor, facts: Sequence[Recorded]) -> None:
        """Fold facts and write the workflows that changed, their new versions and last runs. Raises Unfoldable."""
        last_runs: dict[UUID, UUID] = {}
        workflow_facts: list[Recorded] = []
        for event in facts:
            if isinstance(event.fact, RunStarted):
                last_runs[event.fact.workflow_id] = event.stream_id
            else:
                workflow_facts.append(event)
        if workflow_facts:
            await self._write(cursor, workflow_facts)
        if last_runs:
            await cursor.execute(
                WRITE_LAST_RUNS, {"workflows": uuids(last_runs), "runs": uuids(last_runs.values())}, prepare=True
            )

    async def _write(self, cursor: Cursor, facts: Sequence[Recorded]) -> None:
        workflows = await self._folding.fold(cursor, facts)
        if workflows:
            await cursor.execute(
                WRITE,
                {
                    **self._folding.columns(workflows),
                    "statuses": texts([workflow.state.status.value for workflow in workflows]),
                    "names": texts([workflow.state.name for workflow in workflows]),
                },
                prepare=True,
            )
        graphs = pack_versions(facts, _graph)
        if graphs is not None:
            await cursor.execute(WRITE_VERSIONS, graphs, prepare=True)

    def forget(self) -> None:
        """Clear the cache."""
        self._folding.forget()


def _graph(fact: Fact) -> NumberedVersion:
    return get_new_graph(fact) if isinstance(fact, WorkflowFact) else None
