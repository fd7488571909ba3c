-- How far the relay has carried the log onto the bus: one row a carrier, moved after what it published is acknowledged.

create table relay_cursors (
    carrier         text primary key,
    position        bigint not null default 0,
    moved_at        timestamptz not null default now()
);

comment on column relay_cursors.position is
    'Every fact up to this position of the log was acknowledged by the carrier; later ones may have been published too.';
