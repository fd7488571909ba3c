-- Rate limits: a token bucket for each workspace and credential, as the time until which its tokens are spent (GCRA).

create unlogged table rate_limit_buckets (
    bucket_id           uuid primary key,
    spent_until         double precision not null   -- seconds since 1970: the theoretical arrival time
) with (fillfactor = 50);

comment on table rate_limit_buckets is
    'What rate limits have leased to processes. A missing row is a full bucket. Lost in a crash of the database.';

-- Lease up to `wanted` tokens, none unless `needed` are there. Processes that lease at once wait for each other's row.
create function lease_tokens(
    bucket              uuid,
    wanted              int,
    needed              int,
    token_seconds       double precision,   -- in which one token comes back
    burst               int,
    out granted         int,
    out remaining       int,
    out retry_seconds   double precision    -- after which `needed` tokens are there, 0 if they are
) language plpgsql volatile as $$
declare
    spent               double precision;
    current_seconds     double precision;
    room                double precision;
begin
    insert into rate_limit_buckets (bucket_id, spent_until) values (bucket, 0) on conflict (bucket_id) do nothing;
    select b.spent_until into spent from rate_limit_buckets b where b.bucket_id = bucket for update;
    current_seconds := extract(epoch from clock_timestamp());
    spent := greatest(spent, current_seconds);
    room := burst - (spent - current_seconds) / token_seconds;
    granted := case when room < needed then 0 else least(wanted, floor(room)::int) end;
    remaining := greatest(0, floor(room)::int - granted);
    retry_seconds := greatest(0, (needed - room) * token_seconds);
    if granted > 0 then
        update rate_limit_buckets set spent_until = spent + granted * token_seconds where bucket_id = bucket;
    end if;
end
$$;
