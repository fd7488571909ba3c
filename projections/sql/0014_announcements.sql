-- Announcements of workspaces.

create table announcements (
    id                  uuid primary key,
    workspace_id        uuid not null,
    project_id          uuid,
    version             bigint not null,
    position            bigint not null,
    created_position    bigint not null,
    created_at          timestamptz not null,
    updated_at          timestamptz not null,
    status              text not null,
    document            json not null
);

comment on column announcements.project_id is 'Always null: announcements belong to a workspace.';

create index announcements_of_workspace on announcements (workspace_id);
