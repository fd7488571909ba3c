-- A command that changed nothing is remembered like one that appended facts, so that a repeat gets the first answer.

create function remember_command(
    command         bytea,
    request         bytea,
    stream          uuid,
    version         bigint,
    at_position     bigint
) returns boolean language plpgsql volatile as $$
declare
    stamped_at      timestamptz;
    inserted        bigint;
begin
    -- Appends look for ids under this lock, and insert theirs later: without it both could insert.
    select greatest(h.recorded_at, clock_timestamp()) into stamped_at from log_head h for update;
    insert into command_ids (command_id, request_hash, originator_id, originator_version, notification_id, recorded_at)
    values (command, request, stream, version, at_position, stamped_at)
    on conflict (command_id) do nothing;
    get diagnostics inserted = row_count;
    return inserted > 0;
end
$$;
