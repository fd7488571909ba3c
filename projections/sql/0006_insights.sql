-- Figures over runs, in buckets of an hour and again of a day: what happened within it, and how long things took.

create table insight_buckets (
    project_id          uuid not null,
    grain               int not null,
    starts_at           timestamptz not null,
    kind                text not null,
    workflow_id         uuid not null,
    workflow_version    bigint not null,
    node                text not null,
    model               text not null,
    asset_version       bigint not null,
    asset_id            uuid,
    workspace_id        uuid not null,
    measures            json not null,
    primary key (project_id, grain, starts_at, kind, workflow_id, workflow_version, node, model, asset_version)
) with (fillfactor = 70);

comment on table insight_buckets is
    'Each fact counts in the bucket of its own time, once in the hour''s and once in the day''s (UTC). Measures are integers, written with sorted keys, so that the same facts give the same bytes however they came in batches.';
comment on column insight_buckets.grain is 'How long the bucket is, in seconds.';
comment on column insight_buckets.kind is
    'run: of runs that somebody started; child: of runs that a step of another run began; step: of a node; model: of calls of a model.';
comment on column insight_buckets.asset_version is 'Of the prompt asset that the node used; 0 where it used none.';

-- How many runs wait now; only those that do are in it.
create index runs_waiting on runs (project_id, workflow_id) where status = 'waiting';
