-- The bounds of a family: a run that a caller started, with all the runs that its steps begin, at any depth.

create table run_families (
    root_id     uuid primary key,
    begun       bigint not null default 0,
    under_way   bigint not null default 0,
    changed_at  timestamptz not null default now()
) with (fillfactor = 70);

comment on table run_families is
    'How many descendants each family has begun and may have under way. Rows go when the root ends; an engine that is lost right then leaves one, which another engine removes.';

create table run_family_steps (
    root_id     uuid not null,
    run_id      uuid not null,
    wait        text not null,
    begun       bigint not null,
    under_way   bigint not null,
    primary key (root_id, run_id, wait)
) with (fillfactor = 70);

comment on table run_family_steps is
    'What each wait for children has reserved of its family''s bounds, so that an engine that takes the run over reserves nothing twice.';

create function reserve_children(
    of_root uuid, of_run uuid, of_wait text, will_begin bigint, will_be_under_way bigint,
    begun_max bigint, under_way_max bigint
) returns text language plpgsql as $$
declare
    family          run_families;
    reserved        run_family_steps;
    begun_more      bigint;
    under_way_more  bigint;
begin
    -- The children are appended later, with a commit that waits for the disk: then this one is on it too.
    perform set_config('synchronous_commit', 'off', true);
    insert into run_families as f (root_id) values (of_root)
        on conflict (root_id) do update set changed_at = now()
        returning f.* into family;
    select s.* into reserved from run_family_steps s
     where s.root_id = of_root and s.run_id = of_run and s.wait = of_wait;
    begun_more := greatest(0, will_begin - coalesce(reserved.begun, 0));
    under_way_more := will_be_under_way - coalesce(reserved.under_way, 0);
    if begun_more > 0 and family.begun + begun_more > begun_max then
        return 'descendants';
    end if;
    if under_way_more > 0 and family.under_way + under_way_more > under_way_max then
        return 'descendants_under_way';
    end if;
    if begun_more = 0 and under_way_more = 0 then
        return '';
    end if;
    update run_families f
       set begun = f.begun + begun_more, under_way = f.under_way + under_way_more
     where f.root_id = of_root;
    insert into run_family_steps as s values (of_root, of_run, of_wait, will_begin, will_be_under_way)
        on conflict (root_id, run_id, wait) do update
       set begun = s.begun + begun_more, under_way = s.under_way + under_way_more;
    return '';
end
$$;

comment on function reserve_children is
    'Reserve children of a step in their family; returns the name of the bound that they would exceed, or an empty text. What is reserved already counts once.';
