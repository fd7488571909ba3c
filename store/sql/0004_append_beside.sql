-- Commands whose facts may stand beside others: their expected version moves along, unless what came contradicts them.

create function append_events_beside(
    command_streams     uuid[],
    command_expected    bigint[],
    event_commands      int[],
    event_streams       uuid[],
    event_versions      bigint[],
    event_workspaces    uuid[],
    event_projects      uuid[],
    event_topics        text[],
    event_states        bytea[],
    event_metadata      text[],
    guard_commands      int[],
    guard_streams       uuid[],
    guard_versions      bigint[],
    id_commands         int[],
    id_keys             bytea[],
    id_requests         bytea[],
    id_versions         bigint[],
    wake                boolean,
    beside_commands     int[],      -- the ordinals (from 1) of such commands
    beside_topics       text[],     -- for each the topics that contradict it, with spaces in between
    out head_before     bigint,
    out stamped_at      timestamptz,
    out conflicts       int[],
    out duplicates      int[],
    out moved           int[],      -- the ordinals of those whose version has moved along
    out moved_by        bigint[]    -- for each by how much
) language plpgsql volatile as $$
declare
    command     int;
    last        bigint;
begin
    if cardinality(beside_commands) > 0 then
        -- As in append_events: the lock first, and in later statements what all others have committed.
        perform from log_head for update;
        for i in 1 .. cardinality(beside_commands) loop
            command := beside_commands[i];
            select e.originator_version
              into last
              from events e
             where e.originator_id = command_streams[command]
             order by e.originator_version desc
             limit 1;
            if last > command_expected[command] then
                perform from events e
                  where e.originator_id = command_streams[command]
                    and e.originator_version > command_expected[command]
                    and e.topic = any (string_to_array(beside_topics[i], ' '))
                  limit 1;
                if not found then
                    moved := moved || command;
                    moved_by := moved_by || (last - command_expected[command]);
                    command_expected[command] := last;
                end if;
            end if;
        end loop;
        if moved is not null then
            event_versions := array(
                select v.version + coalesce(moved_by[array_position(moved, v.command)], 0)
                  from unnest(event_commands, event_versions) with ordinality as v (command, version, ordinal)
                 order by v.ordinal);
            id_versions := array(
                select v.version + coalesce(moved_by[array_position(moved, v.command)], 0)
                  from unnest(id_commands, id_versions) with ordinality as v (command, version, ordinal)
                 order by v.ordinal);
        end if;
    end if;

    select a.head_before, a.stamped_at, a.conflicts, a.duplicates
      into head_before, stamped_at, conflicts, duplicates
      from append_events(command_streams, command_expected, event_commands, event_streams, event_versions,
                         event_workspaces, event_projects, event_topics, event_states, event_metadata,
                         guard_commands, guard_streams, guard_versions,
                         id_commands, id_keys, id_requests, id_versions, wake) as a;
end
$$;
