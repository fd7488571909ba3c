-- Epochs of the log: a restore that rewinds the log begins a new one, so that ids of lost facts are never used again.

create table log_epochs (
    number      int primary key,
    tag         text not null unique check (tag ~ '^[0-9a-f]{12}$'),
    after       bigint not null,
    began_at    timestamptz not null default clock_timestamp(),
    reason      text not null
);

comment on table log_epochs is
    'The facts after position `after` have the tag of this epoch in their ids, up to where the next epoch begins.';

insert into log_epochs (number, tag, after, reason)
select 0, right(replace(log_id::text, '-', ''), 12), 0, 'the log was created' from log_head;

create function begin_epoch(seen_tag text, new_tag text, divergence bigint, why text) returns boolean
language plpgsql volatile as $$
declare
    head        bigint;
    current     log_epochs;
begin
    -- The lock fences appenders and other processes that found the same: one of them begins the epoch.
    select position into head from log_head for update;
    select * into current from log_epochs order by number desc limit 1;
    if current.tag <> seen_tag then
        return false;
    end if;
    insert into log_epochs (number, tag, after, reason)
    values (current.number + 1, new_tag, least(divergence, head), why);
    return true;
end
$$;
