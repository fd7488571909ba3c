-- Several engines on one log: which of them are alive, and which runs each has in hand.

create table engines (
    epoch   bigint primary key,
    name    text not null,
    until   timestamptz not null
);

comment on table engines is
    'The engines that have joined. One lives while its time has not passed and its session holds the lock of its epoch.';

create table run_leases (
    run_id  uuid primary key,
    epoch   bigint not null
);

comment on table run_leases is
    'The engine that has a run in hand; worth nothing once that engine is gone. A run that is short never gets a row.';

create index run_leases_of_engine on run_leases (epoch);

create function live_engines() returns setof bigint language sql stable as $$
    select e.epoch
      from engines e
      join pg_locks l on l.objid::bigint = e.epoch
     where e.until > now()
       and l.locktype = 'advisory'
       and l.classid = 1701734249  -- "engi"
       and l.objsubid = 2
       and l.granted
       and l.database = (select oid from pg_database where datname = current_database())
$$;
