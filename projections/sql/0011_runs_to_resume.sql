-- An engine that starts, or notices that another has gone, looks for two kinds of runs among all that are unfinished:
-- parents, since the end of a child may have gone unnoticed, and runs with a pending cancellation. Both used to be found
-- by a text search through every unfinished document. Existing rows get what the projection would write.

alter table runs
    add column waits_for_children   boolean not null default false,
    add column cancel_requested     boolean not null default false;

comment on column runs.waits_for_children is 'Whether a step waits for child runs.';
comment on column runs.cancel_requested is 'Whether the cancellation of the run was requested, also once it has ended.';

update runs
   set cancel_requested = coalesce((document ->> 'cancel_requested')::boolean, false),
       waits_for_children = coalesce((document ->> 'waiting')::int, 0) > 0 and exists (
           select from json_each(document -> 'steps') as step (node, state)
            where state ->> 'status' = 'waiting' and state -> 'waiting' ->> 'waiting_for' = 'child'
       )
 where document ->> 'cancel_requested' is not null or coalesce((document ->> 'waiting')::int, 0) > 0;

create index runs_waiting_for_children on runs (id) where status = 'waiting' and waits_for_children;
create index runs_to_cancel on runs (id) where status in ('queued', 'running', 'waiting') and cancel_requested;

drop index runs_unfinished;  -- no query is left that reads all unfinished runs
