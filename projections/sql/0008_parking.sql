-- What a projection leaves out: workspaces that are parked in it, and facts that a person has had it skip. Neither can
-- be built again from the log.

alter table checkpoints add column revision bigint not null default 0;

comment on column checkpoints.revision is
    'Grows with each change, other than a move, of which the one who follows has to know: what is parked, what is skipped.';

create table parked (
    projection      text not null,
    workspace_id    uuid not null,
    from_position   bigint not null,
    stream_id       uuid not null,
    version         bigint not null,
    topic           text not null,
    error           text not null,
    parked_at       timestamptz not null default now(),
    primary key (projection, workspace_id)
);

comment on table parked is
    'Workspaces that a projection leaves out from a position on, because the fact there cannot be folded.';

create table skipped (
    projection      text not null,
    position        bigint not null,
    workspace_id    uuid not null,
    stream_id       uuid not null,
    version         bigint not null,
    topic           text not null,
    error           text not null,
    rest_of_stream  boolean not null,
    skipped_by      text not null,
    why             text not null,
    skipped_at      timestamptz not null default now(),
    primary key (projection, position)
);

comment on table skipped is
    'Facts that a person has had a projection pass over, for ever: a rebuild passes over them too.';
comment on column skipped.rest_of_stream is
    'Whether all that follows in its stream is left out too; so it is after the first fact, for there is nothing to fold onto.';

create table parking_history (
    id              bigint generated always as identity primary key,
    projection      text not null,
    workspace_id    uuid not null,
    position        bigint not null,
    happened        text not null,
    by_whom         text not null,
    detail          text not null,
    at              timestamptz not null default now()
);

comment on table parking_history is 'Everything that was ever parked, retried, skipped and unparked, and by whom.';

create index parking_history_of_workspace on parking_history (projection, workspace_id, id);
