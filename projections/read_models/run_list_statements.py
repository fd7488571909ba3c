"""The lists of runs: of a project, of a workflow, and the children of a run.

`of_workflow` and `labels` filter; null, or no labels, does not. `created_after` and `created_through` bound the
positions at which runs were started.
"""

from typing import Final

from projections.lists.ordered_list import OrderedList

FILTERS: Final = """workspace_id = %(workspace)b
                   and (%(status)b::text is null or status = %(status)b)
                   and (%(of_workflow)b::uuid is null or workflow_id = %(of_workflow)b)
                   and labels @> %(labels)b::text::jsonb
                   and created_position > %(created_after)b and created_position <= %(created_through)b"""
OF_PROJECT_SCOPE: Final = "project_id = %(scope)b and parent_run_id is null"
OF_WORKFLOW_SCOPE: Final = "workflow_id = %(scope)b and parent_run_id is null"
BY_STATUS: Final = "status = %(status)b and status <> 'completed'"

OF_PROJECT: Final = OrderedList(table="runs", scope=OF_PROJECT_SCOPE, filters=FILTERS)
OF_PROJECT_BY_STATUS: Final = OrderedList(table="runs", scope=f"{OF_PROJECT_SCOPE} and {BY_STATUS}", filters=FILTERS)
OF_WORKFLOW: Final = OrderedList(table="runs", scope=OF_WORKFLOW_SCOPE, filters=FILTERS)
OF_WORKFLOW_BY_STATUS: Final = OrderedList(table="runs", scope=f"{OF_WORKFLOW_SCOPE} and {BY_STATUS}", filters=FILTERS)
OF_PARENT: Final = OrderedList(
    table="runs",
    scope="parent_run_id = %(parent)b and (project_id = %(scope)b or workflow_id = %(scope)b)",
    filters=FILTERS,
)
