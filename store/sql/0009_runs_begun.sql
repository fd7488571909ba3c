-- How many runs each workspace has begun in the current minute, leased to processes in portions. Not logged: after a
-- crash of the database the minute begins anew.

create unlogged table runs_begun (
    workspace_id    uuid primary key,
    minute          timestamptz not null,
    begun           bigint not null
) with (fillfactor = 50);

comment on table runs_begun is
    'Runs that processes may begin or have begun in a minute, by workspace; never more than the bound.';

create function lease_runs(of_workspace uuid, wanted bigint, most bigint, out leased bigint, out seconds_left float8)
language plpgsql as $$
declare
    this_minute     timestamptz := date_trunc('minute', clock_timestamp());
    before          bigint;
begin
    insert into runs_begun as r values (of_workspace, this_minute, 0)
        on conflict (workspace_id) do update
       set minute = greatest(r.minute, excluded.minute),
           begun = case when r.minute < excluded.minute then 0 else r.begun end
        returning r.begun into before;
    leased := greatest(0, least(wanted, most - before));
    update runs_begun r set begun = r.begun + leased where r.workspace_id = of_workspace;
    seconds_left := 60 - extract(epoch from clock_timestamp() - this_minute);
end
$$;

comment on function lease_runs is
    'Lease up to so many of the runs that a workspace may begin in this minute; they are void when it is over.';
