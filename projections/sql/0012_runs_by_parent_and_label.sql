-- Lists of runs show children apart from the runs that people started, and are filtered by labels.
-- Existing rows get what the projection would write.

alter table runs
    add column parent_run_id    uuid,
    add column labels           jsonb not null default '{}';

comment on column runs.parent_run_id is 'The run whose step started this one; null for those that callers started.';
comment on column runs.labels is 'The labels that the caller of the run gave it.';

update runs
   set parent_run_id = (document -> 'parent' ->> 'run_id')::uuid,
       labels = coalesce((document ->> 'labels')::jsonb, '{}')
 where document -> 'parent' is not null or document -> 'labels' is not null;

create index runs_of_parent on runs (parent_run_id, created_position) where parent_run_id is not null;
