-- What the synchronous recorders of the eventsourcing library write, in the same order as everything else.

create function record_events(
    streams     uuid[],
    versions    bigint[],
    topics      text[],
    states      bytea[],
    workspace   uuid,           -- the one that is reserved for the library
    out head_before bigint
) language plpgsql volatile as $$
declare
    stamped_at timestamptz;
begin
    select h.position, greatest(h.recorded_at, clock_timestamp())
      into head_before, stamped_at
      from log_head h
       for update;

    if cardinality(streams) = 0 then
        return;
    end if;

    -- A stream is Callsheet's or the library's: an opaque event in one of ours could never be folded.
    if exists (select from unnest(streams) as s (stream)
                where (select e.workspace_id from events e where e.originator_id = s.stream limit 1) <> workspace) then
        raise unique_violation using message = 'a stream of Callsheet is not written by other recorders';
    end if;

    insert into events (notification_id, originator_id, originator_version, workspace_id, topic, state, state_format,
                        metadata, recorded_at)
    select head_before + n.ordinal, n.stream, n.version, workspace, n.topic, n.state, 0,
           '{"actor":{"kind":"system","id":"eventsourcing"},"correlation_id":""}', stamped_at
      from unnest(streams, versions, topics, states) with ordinality as n (stream, version, topic, state, ordinal);

    update log_head set position = head_before + cardinality(streams), recorded_at = stamped_at;
    perform pg_notify('callsheet_log', (head_before + cardinality(streams))::text);
end
$$;
