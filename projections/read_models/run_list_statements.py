"""The statements of the lists of runs: of a project, of a workflow, and the children of a run, in four orders each.

`status`, `of_workflow`, `labels`, `begins_at` and `ends_at` filter; null, or no labels, does not.
"""

from typing import Final, LiteralString

from projections.runtime.paging import Sort

PROJECT_NEWEST: Final = """
select id, workspace_id, project_id, version, position, created_position, created_at, updated_at, document::text
  from runs
 where project_id = %(scope)b
   and workspace_id = %(workspace)b
   and parent_run_id is null
   and (%(status)b::text is null or status = %(status)b)
   and (%(of_workflow)b::uuid is null or workflow_id = %(of_workflow)b)
   and labels @> %(labels)b::text::jsonb
   and (%(begins_at)b::timestamptz is null or created_at >= %(begins_at)b)
   and (%(ends_at)b::timestamptz is null or created_at < %(ends_at)b)
   and created_position < %(after)b
 order by created_position desc
 limit %(limit)b
"""
"""Read a page of a project's runs, those started last first."""

PROJECT_OLDEST: Final = """
select id, workspace_id, project_id, version, position, created_position, created_at, updated_at, document::text
  from runs
 where project_id = %(scope)b
   and workspace_id = %(workspace)b
   and parent_run_id is null
   and (%(status)b::text is null or status = %(status)b)
   and (%(of_workflow)b::uuid is null or workflow_id = %(of_workflow)b)
   and labels @> %(labels)b::text::jsonb
   and (%(begins_at)b::timestamptz is null or created_at >= %(begins_at)b)
   and (%(ends_at)b::timestamptz is null or created_at < %(ends_at)b)
   and created_position > %(after)b
 order by created_position
 limit %(limit)b
"""
"""Read a page of a project's runs, those started first first."""

WORKFLOW_NEWEST: Final = """
select id, workspace_id, project_id, version, position, created_position, created_at, updated_at, document::text
  from runs
 where workflow_id = %(scope)b
   and workspace_id = %(workspace)b
   and parent_run_id is null
   and (%(status)b::text is null or status = %(status)b)
   and (%(of_workflow)b::uuid is null or workflow_id = %(of_workflow)b)
   and labels @> %(labels)b::text::jsonb
   and (%(begins_at)b::timestamptz is null or created_at >= %(begins_at)b)
   and (%(ends_at)b::timestamptz is null or created_at < %(ends_at)b)
   and created_position < %(after)b
 order by created_position desc
 limit %(limit)b
"""
"""Read a page of a workflow's runs, those started last first."""

WORKFLOW_OLDEST: Final = """
select id, workspace_id, project_id, version, position, created_position, created_at, updated_at, document::text
  from runs
 where workflow_id = %(scope)b
   and workspace_id = %(workspace)b
   and parent_run_id is null
   and (%(status)b::text is null or status = %(status)b)
   and (%(of_workflow)b::uuid is null or workflow_id = %(of_workflow)b)
   and labels @> %(labels)b::text::jsonb
   and (%(begins_at)b::timestamptz is null or created_at >= %(begins_at)b)
   and (%(ends_at)b::timestamptz is null or created_at < %(ends_at)b)
   and created_position > %(after)b
 order by created_position
 limit %(limit)b
"""
"""Read a page of a workflow's runs, those started first first."""

PROJECT_LATEST_CHANGED: Final = """
select id, workspace_id, project_id, version, position, created_position, created_at, updated_at, document::text
  from runs
 where project_id = %(scope)b
   and workspace_id = %(workspace)b
   and parent_run_id is null
   and (%(status)b::text is null or status = %(status)b)
   and (%(of_workflow)b::uuid is null or workflow_id = %(of_workflow)b)
   and labels @> %(labels)b::text::jsonb
   and (%(begins_at)b::timestamptz is null or created_at >= %(begins_at)b)
   and (%(ends_at)b::timestamptz is null or created_at < %(ends_at)b)
   and position < %(after)b
 order by position desc
 limit %(limit)b
"""
"""Read a page of a project's runs, those changed last first."""

PROJECT_LONGEST_UNCHANGED: Final = """
select id, workspace_id, project_id, version, position, created_position, created_at, updated_at, document::text
  from runs
 where project_id = %(scope)b
   and workspace_id = %(workspace)b
   and parent_run_id is null
   and (%(status)b::text is null or status = %(status)b)
   and (%(of_workflow)b::uuid is null or workflow_id = %(of_workflow)b)
   and labels @> %(labels)b::text::jsonb
   and (%(begins_at)b::timestamptz is null or created_at >= %(begins_at)b)
   and (%(ends_at)b::timestamptz is null or created_at < %(ends_at)b)
   and position > %(after)b
 order by position
 limit %(limit)b
"""
"""Read a page of a project's runs, those changed longest ago first."""

WORKFLOW_LATEST_CHANGED: Final = """
select id, workspace_id, project_id, version, position, created_position, created_at, updated_at, document::text
  from runs
 where workflow_id = %(scope)b
   and workspace_id = %(workspace)b
   and parent_run_id is null
   and (%(status)b::text is null or status = %(status)b)
   and (%(of_workflow)b::uuid is null or workflow_id = %(of_workflow)b)
   and labels @> %(labels)b::text::jsonb
   and (%(begins_at)b::timestamptz is null or created_at >= %(begins_at)b)
   and (%(ends_at)b::timestamptz is null or created_at < %(ends_at)b)
   and position < %(after)b
 order by position desc
 limit %(limit)b
"""
"""Read a page of a workflow's runs, those changed last first."""

WORKFLOW_LONGEST_UNCHANGED: Final = """
select id, workspace_id, project_id, version, position, created_position, created_at, updated_at, document::text
  from runs
 where workflow_id = %(scope)b
   and workspace_id = %(workspace)b
   and parent_run_id is null
   and (%(status)b::text is null or status = %(status)b)
   and (%(of_workflow)b::uuid is null or workflow_id = %(of_workflow)b)
   and labels @> %(labels)b::text::jsonb
   and (%(begins_at)b::timestamptz is null or created_at >= %(begins_at)b)
   and (%(ends_at)b::timestamptz is null or created_at < %(ends_at)b)
   and position > %(after)b
 order by position
 limit %(limit)b
"""
"""Read a page of a workflow's runs, those changed longest ago first."""

CHILDREN_NEWEST: Final = """
select id, workspace_id, project_id, version, position, created_position, created_at, updated_at, document::text
  from runs
 where parent_run_id = %(parent)b
   and (project_id = %(scope)b or workflow_id = %(scope)b)
   and workspace_id = %(workspace)b
   and (%(status)b::text is null or status = %(status)b)
   and (%(of_workflow)b::uuid is null or workflow_id = %(of_workflow)b)
   and labels @> %(labels)b::text::jsonb
   and (%(begins_at)b::timestamptz is null or created_at >= %(begins_at)b)
   and (%(ends_at)b::timestamptz is null or created_at < %(ends_at)b)
   and created_position < %(after)b
 order by created_position desc
 limit %(limit)b
"""
"""Read a page of a run's children, those started last first."""

CHILDREN_OLDEST: Final = """
select id, workspace_id, project_id, version, position, created_position, created_at, updated_at, document::text
  from runs
 where parent_run_id = %(parent)b
   and (project_id = %(scope)b or workflow_id = %(scope)b)
   and workspace_id = %(workspace)b
   and (%(status)b::text is null or status = %(status)b)
   and (%(of_workflow)b::uuid is null or workflow_id = %(of_workflow)b)
   and labels @> %(labels)b::text::jsonb
   and (%(begins_at)b::timestamptz is null or created_at >= %(begins_at)b)
   and (%(ends_at)b::timestamptz is null or created_at < %(ends_at)b)
   and created_position > %(after)b
 order by created_position
 limit %(limit)b
"""
"""Read a page of a run's children, those started first first."""

CHILDREN_LATEST_CHANGED: Final = """
select id, workspace_id, project_id, version, position, created_position, created_at, updated_at, document::text
  from runs
 where parent_run_id = %(parent)b
   and (project_id = %(scope)b or workflow_id = %(scope)b)
   and workspace_id = %(workspace)b
   and (%(status)b::text is null or status = %(status)b)
   and (%(of_workflow)b::uuid is null or workflow_id = %(of_workflow)b)
   and labels @> %(labels)b::text::jsonb
   and (%(begins_at)b::timestamptz is null or created_at >= %(begins_at)b)
   and (%(ends_at)b::timestamptz is null or created_at < %(ends_at)b)
   and position < %(after)b
 order by position desc
 limit %(limit)b
"""
"""Read a page of a run's children, those changed last first."""

CHILDREN_LONGEST_UNCHANGED: Final = """
select id, workspace_id, project_id, version, position, created_position, created_at, updated_at, document::text
  from runs
 where parent_run_id = %(parent)b
   and (project_id = %(scope)b or workflow_id = %(scope)b)
   and workspace_id = %(workspace)b
   and (%(status)b::text is null or status = %(status)b)
   and (%(of_workflow)b::uuid is null or workflow_id = %(of_workflow)b)
   and labels @> %(labels)b::text::jsonb
   and (%(begins_at)b::timestamptz is null or created_at >= %(begins_at)b)
   and (%(ends_at)b::timestamptz is null or created_at < %(ends_at)b)
   and position > %(after)b
 order by position
 limit %(limit)b
"""
"""Read a page of a run's children, those changed longest ago first."""

OF_PROJECT: Final[dict[Sort, LiteralString]] = {
    Sort.NEWEST: PROJECT_NEWEST,
    Sort.OLDEST: PROJECT_OLDEST,
    Sort.LATEST_CHANGED: PROJECT_LATEST_CHANGED,
    Sort.LONGEST_UNCHANGED: PROJECT_LONGEST_UNCHANGED,
}
OF_WORKFLOW: Final[dict[Sort, LiteralString]] = {
    Sort.NEWEST: WORKFLOW_NEWEST,
    Sort.OLDEST: WORKFLOW_OLDEST,
    Sort.LATEST_CHANGED: WORKFLOW_LATEST_CHANGED,
    Sort.LONGEST_UNCHANGED: WORKFLOW_LONGEST_UNCHANGED,
}
OF_PARENT: Final[dict[Sort, LiteralString]] = {
    Sort.NEWEST: CHILDREN_NEWEST,
    Sort.OLDEST: CHILDREN_OLDEST,
    Sort.LATEST_CHANGED: CHILDREN_LATEST_CHANGED,
    Sort.LONGEST_UNCHANGED: CHILDREN_LONGEST_UNCHANGED,
}
