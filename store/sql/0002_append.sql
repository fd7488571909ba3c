-- The group-commit append: one call commits many commands, each accepted or refused on its own.

create function append_events(
    command_streams     uuid[],
    command_expected    bigint[],
    event_commands      int[],      -- for each event, the ordinal (from 1) of its command
    event_streams       uuid[],
    event_versions      bigint[],
    event_workspaces    uuid[],
    event_projects      uuid[],
    event_topics        text[],
    event_states        bytea[],
    event_metadata      text[],
    guard_commands      int[],      -- a guard is a stream that a command was decided against
    guard_streams       uuid[],
    guard_versions      bigint[],
    id_commands         int[],
    id_keys             bytea[],
    id_requests         bytea[],
    id_versions         bigint[],
    wake                boolean,
    out head_before     bigint,
    out stamped_at      timestamptz,
    out conflicts       int[],
    out duplicates      int[]
) language plpgsql volatile as $$
declare
    refused     int[];
    inserted    bigint;
begin
    -- The lock fences every other appender until commit; what follows sees all that they committed.
    select h.position, greatest(h.recorded_at, clock_timestamp())
      into head_before, stamped_at
      from log_head h
       for update;

    if cardinality(id_commands) > 0 then
        select array_agg(i.command)
          into duplicates
          from unnest(id_commands, id_keys) as i (command, key)
         where exists (select from command_ids k where k.command_id = i.key);
    end if;

    -- A scalar look-up a command, never a join: its plan cannot flip with the size of the batch or of the log.
    select array_agg(c.ordinal::int)
      into conflicts
      from unnest(command_streams, command_expected) with ordinality as c (stream, expected, ordinal)
     where coalesce((select e.originator_version
                       from events e
                      where e.originator_id = c.stream
                      order by e.originator_version desc
                      limit 1), 0) <> c.expected;

    if cardinality(guard_commands) > 0 then
        conflicts := conflicts || (
            select array_agg(distinct g.command)
              from unnest(guard_commands, guard_streams, guard_versions) as g (command, stream, version)
             where coalesce((select e.originator_version
                               from events e
                              where e.originator_id = g.stream
                              order by e.originator_version desc
                              limit 1), 0) <> g.version);
    end if;

    refused := conflicts || duplicates;

    if refused is null then
        insert into events (notification_id, originator_id, originator_version, workspace_id, project_id, topic,
                            state, state_format, metadata, recorded_at)
        select head_before + n.ordinal, n.stream, n.version, n.workspace,
               n.project, n.topic,
               n.state, 1, n.metadata::json, stamped_at
          from unnest(event_streams, event_versions, event_workspaces, event_projects, event_topics, event_states,
                      event_metadata) with ordinality
               as n (stream, version, workspace, project, topic, state, metadata, ordinal);
        inserted := cardinality(event_streams);
    else
        insert into events (notification_id, originator_id, originator_version, workspace_id, project_id, topic,
                            state, state_format, metadata, recorded_at)
        select head_before + row_number() over (order by n.ordinal), n.stream, n.version, n.workspace,
               n.project, n.topic,
               n.state, 1, n.metadata::json, stamped_at
          from unnest(event_commands, event_streams, event_versions, event_workspaces, event_projects, event_topics,
                      event_states, event_metadata) with ordinality
               as n (command, stream, version, workspace, project, topic, state, metadata, ordinal)
         where not n.command = any (refused);
        get diagnostics inserted = row_count;
    end if;

    if inserted = 0 then
        return;
    end if;

    if cardinality(id_commands) > 0 then
        insert into command_ids (command_id, request_hash, originator_id, originator_version, notification_id,
                                 recorded_at)
        select i.key, i.request, e.originator_id, e.originator_version, e.notification_id, stamped_at
          from unnest(id_commands, id_keys, id_requests, id_versions) as i (command, key, request, version)
          join events e on e.originator_id = command_streams[i.command] and e.originator_version = i.version
         where refused is null or not i.command = any (refused);
    end if;

    update log_head set position = head_before + inserted, recorded_at = stamped_at;

    if wake then
        -- NOTIFY takes a lock of the whole server at commit: once a batch, never once an event.
        perform pg_notify('callsheet_log', (head_before + inserted)::text);
    end if;
end
$$;
