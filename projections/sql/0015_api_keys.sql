-- API keys of workspaces. The document holds the hash of the secret, never the secret.

create table api_keys (
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

comment on column api_keys.project_id is 'Always null: keys belong to a workspace.';

create index api_keys_of_workspace on api_keys (workspace_id);
