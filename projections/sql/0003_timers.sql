-- The times that runs wait for. Rows come and go with the waits, so the table is as small as what is pending.

create table timers (
    run_id              uuid not null,
    node                text not null,
    workspace_id        uuid not null,
    due_at              timestamptz not null,
    primary key (run_id, node)
);

comment on table timers is
    'When a step is due by the clock: the end of a delay, the deadline of a person, the next attempt of a step that failed.';

create index timers_by_due on timers (due_at, run_id, node);
