-- The read models and the checkpoints that move with them. All of it can be thrown away and built again from the log.
-- Statements name these tables without a schema, so that another generation of them can be built beside, in its own.

create table checkpoints (
    projection      text primary key,
    position        bigint not null default 0,
    updated_at      timestamptz not null default now()
) with (fillfactor = 50);

comment on table checkpoints is
    'How far each projection has folded the log; moved in the transaction that writes what was folded.';

create table projects (
    id                  uuid primary key,
    workspace_id        uuid not null,
    project_id          uuid,
    version             bigint not null,
    position            bigint not null,
    created_position    bigint not null,
    created_at          timestamptz not null,
    updated_at          timestamptz not null,
    status              text not null,
    name                text not null,
    document            json not null
);

comment on column projects.position is 'Of the last fact folded; times of recording never decrease, so it also sorts by updated_at.';
comment on column projects.created_position is 'Of the first fact; sorts by created_at, without ties.';

create index projects_of_workspace on projects (workspace_id);

create table workflows (
    id                  uuid primary key,
    workspace_id        uuid not null,
    project_id          uuid,
    version             bigint not null,
    position            bigint not null,
    created_position    bigint not null,
    created_at          timestamptz not null,
    updated_at          timestamptz not null,
    status              text not null,
    name                text not null,
    last_run_id         uuid,
    document            json not null
) with (fillfactor = 80);

comment on column workflows.last_run_id is
    'The run started last. It comes from the facts of runs and moves neither version nor position. No index holds it, so that its updates stay on their page.';

create index workflows_of_project on workflows (project_id);

create table workflow_versions (
    workflow_id         uuid not null,
    number              bigint not null,
    workspace_id        uuid not null,
    position            bigint not null,
    created_at          timestamptz not null,
    document            json not null,
    primary key (workflow_id, number)
);

create table assets (
    id                  uuid primary key,
    workspace_id        uuid not null,
    project_id          uuid,
    version             bigint not null,
    position            bigint not null,
    created_position    bigint not null,
    created_at          timestamptz not null,
    updated_at          timestamptz not null,
    status              text not null,
    type                text not null,
    label               text not null,
    document            json not null
);

create index assets_of_project on assets (project_id);

create table asset_versions (
    asset_id            uuid not null,
    number              bigint not null,
    workspace_id        uuid not null,
    position            bigint not null,
    created_at          timestamptz not null,
    document            json not null,
    primary key (asset_id, number)
);

create table runs (
    id                  uuid primary key,
    workspace_id        uuid not null,
    project_id          uuid,
    workflow_id         uuid not null,
    version             bigint not null,
    position            bigint not null,
    created_position    bigint not null,
    created_at          timestamptz not null,
    updated_at          timestamptz not null,
    status              text not null,
    document            json not null
) with (toast_tuple_target = 8160);

comment on table runs is
    'Every run, written on the hot path: a document of up to 8 KB stays in its row, since compressing it would cost more.';

create index runs_of_project on runs (project_id, created_position);
create index runs_of_workflow on runs (workflow_id, created_position);
create index runs_unfinished on runs (id) where status in ('queued', 'running', 'waiting');
