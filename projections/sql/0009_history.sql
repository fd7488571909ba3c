-- The history of each project: which facts it has, in order, and by whom. The facts themselves stand in the log.

create table history (
    project_id      uuid not null,
    position        bigint not null,
    workspace_id    uuid not null,
    stream_id       uuid not null,
    topic           text not null,
    actor_kind      text not null,
    actor_id        text not null,
    recorded_at     timestamptz not null,
    primary key (project_id, position)
);
