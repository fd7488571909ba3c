-- Building read models again beside the live ones: which generation each projection has, and the rebuilds themselves.

alter table checkpoints add column generation bigint not null default 0;

comment on column checkpoints.generation is
    'The rebuild that made the live tables, 0 for none.';

create table rebuilds (
    id              bigint generated always as identity primary key,
    projections     text[] not null,
    migrations      int not null,
    state           text not null,
    positions       bigint[] not null,
    left_out        json not null default '{}',
    indexes         text[] not null default '{}',
    report          json,
    started_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now(),
    ended_at        timestamptz,
    pruned_at       timestamptz,
    constraint rebuilds_state check (state in ('building', 'swapped', 'abandoned'))
);

comment on table rebuilds is
    'Every rebuild. Its tables lie in the schema generation_<id>, those that it replaced in replaced_<id> until they are pruned.';
comment on column rebuilds.migrations is 'How many migrations made its tables: after another one they would not fit.';
comment on column rebuilds.positions is 'How far each of its projections has folded the log; moved in the transaction of their rows.';
comment on column rebuilds.left_out is 'What was parked or skipped as far as it has come, by projection: the live tables must have left out the same.';
comment on column rebuilds.indexes is 'The indexes that are still to be made, once the bulk of the rows is there.';
