-- The log: one table of events with gapless positions in commit order, and the head row that orders its writers.

create table log_head (
    only_row        boolean primary key default true check (only_row),
    log_id          uuid not null,
    position        bigint not null default 0,
    recorded_at     timestamptz not null default '-infinity'
) with (fillfactor = 10);

comment on table log_head is
    'One row, locked by every append until commit: it fences writers, so that positions are gapless in commit order.';

insert into log_head (log_id) values (gen_random_uuid());

create table events (
    notification_id     bigint primary key,
    originator_version  bigint not null,
    recorded_at         timestamptz not null,
    originator_id       uuid not null,
    workspace_id        uuid not null,
    project_id          uuid,
    state_format        smallint not null,
    key_id              text,
    topic               text not null,
    metadata            json not null,
    state               bytea not null,
    constraint events_stream_version unique (originator_id, originator_version)
);

comment on column events.notification_id is 'The global position: gapless, in commit order, from 1.';
comment on column events.state_format is '0: opaque bytes of an outside library. 1: plain JSON of a fact.';

alter table events alter column state set storage main;

create table command_ids (
    command_id          bytea primary key,
    request_hash        bytea not null,
    originator_id       uuid not null,
    originator_version  bigint not null,
    notification_id     bigint not null,
    recorded_at         timestamptz not null
);

comment on table command_ids is
    'What each command that carried an Idempotency-Key came to, for as long as the retention in settings says.';

create index command_ids_recorded_at on command_ids using brin (recorded_at);

create table contents (
    workspace_id    uuid not null,
    sha256          bytea not null,
    media_type      text not null,
    stored_at       timestamptz not null default now(),
    bytes           bytea not null,
    primary key (workspace_id, sha256)
);

comment on table contents is 'The content store: what is too large for a fact, by workspace and SHA-256.';
