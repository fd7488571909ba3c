-- The inbox: every human step that waits, one row each, gone once it waits no more.

create table tasks (
    run_id              uuid not null,
    node                text not null,
    workspace_id        uuid not null,
    project_id          uuid not null,
    version             bigint not null,
    position            bigint not null,
    created_at          timestamptz not null,
    found_by            text[] not null,
    document            json not null,
    primary key (run_id, node)
) with (fillfactor = 80);

comment on column tasks.version is 'Of the run, once the step waits.';
comment on column tasks.position is 'Of the fact that the step waits: no two tasks share one, so it sorts without ties.';
comment on column tasks.found_by is
    'Whose inbox holds it: user:<user id>, role:<project>:<role>, and project:<project> for everyone of its team. Roles are looked up when it is read, so that a change of a team moves no row.';

create index tasks_found_by on tasks using gin (found_by);
