-- What both subscribers keep. An event and what it adds to the counts are written in one transaction, so that an event
-- which is delivered again, by whatever way, is found here and adds nothing.

-- Which facts this file counts: the filter of its consumer, so that two filters are never mixed; and how many
-- deliveries came of events that had been counted before.
create table if not exists scope (
    one         integer primary key check (one = 1),
    subject     text    not null,
    seen_before integer not null default 0
);

-- Every event that was counted. The id is `<mark of the log>-<position>`.
create table if not exists events (
    id       text    primary key,
    log      text    not null,
    position integer not null
) without rowid;

create index if not exists events_by_position on events (log, position);

-- Events that could not be read. They are not among those counted: once the program can read them, a backfill counts them.
create table if not exists unreadable (
    id      text primary key,
    because text not null
) without rowid;

-- Which workflow a run is of, as `run.started` says. The facts of a run may come before it (a backfill comes late).
create table if not exists runs (
    run      text primary key,
    workflow text not null
) without rowid;

-- What a workflow is called, and by the fact at which position: an older name never replaces a newer one.
create table if not exists workflows (
    workflow text    primary key,
    name     text    not null,
    position integer not null
) without rowid;

-- Sums only: they come out the same in whatever order the events come.
-- Money is an integer of 10^-18 USD, in which every cost of the log is exact; as text, since it may pass 64 bits.
create table if not exists counts (
    run           text    not null,
    day           text    not null,
    workspace     text    not null,
    started       integer not null,
    completed     integer not null,
    failed        integer not null,
    cancelled     integer not null,
    model_calls   integer not null,
    input_tokens  integer not null,
    output_tokens integer not null,
    cost_atto_usd text    not null,
    primary key (run, day)
) without rowid;
