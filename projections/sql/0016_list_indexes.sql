-- How many runs a workspace has under way is bounded, so it is counted.

create index runs_under_way_of_workspace on runs (workspace_id) where status in ('queued', 'running', 'waiting');
