-- One row a step of a run: how far it came, when, and what it took. Documents of runs hold contents; these rows do not.

create table run_steps (
    run_id              uuid not null,
    node                text not null,
    workspace_id        uuid not null,
    project_id          uuid not null,
    workflow_id         uuid not null,
    workflow_version    bigint not null,
    position            bigint not null,
    kind                text,
    status              text not null,
    attempt             bigint not null,
    first_started_at    timestamptz,
    started_at          timestamptz,
    ended_at            timestamptz,
    waiting_for         text,
    waiting_since       timestamptz,
    decided_at          timestamptz,
    error_class         text,
    model               text,
    asset_id            uuid,
    asset_version       bigint not null,
    calls               bigint not null,
    input_tokens        bigint not null,
    output_tokens       bigint not null,
    cost_pico           bigint not null,
    primary key (run_id, node)
);

comment on column run_steps.position is 'Of the last fact that changed the step.';
comment on column run_steps.kind is 'Of the node; unknown where its graph is not in the log.';
comment on column run_steps.cost_pico is 'What is known of the cost of all its calls, in millionths of a millionth of a USD.';

create index run_steps_failed on run_steps (workflow_id, node, position) where status = 'failed';
create index run_steps_waiting on run_steps (project_id, workflow_id, node) where status = 'waiting';
