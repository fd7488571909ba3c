-- The tables of both subscribers. An event's id and what it adds are written in one transaction, so that an event that is
-- delivered again is found here and adds nothing.

-- The filter whose events this file counts, so that two filters are never mixed; and the number of duplicate deliveries.
create table if not exists scope (
    one         integer primary key check (one = 1),
    subject     text    not null,
    seen_before integer not null default 0
);

-- Every event that was counted. The id is `<log tag>-<position>`.
create table if not exists events (
    id       text    primary key,
    log      text    not null,
    position integer not null
) without rowid;

create index if not exists events_by_position on events (log, position);

-- Events that could not be read, and so are not counted. Once the program can read them, a backfill counts them.
create table if not exists unreadable (
    id      text primary key,
    because text not null
) without rowid;

-- The workflow of each run, from `run.started`. Other facts of the run may arrive before it (a backfill comes late).
create table if not exists runs (
    run      text primary key,
    workflow text not null
) without rowid;

-- The name of each workflow, and the position of the fact that set it: an older name never replaces a newer one.
create table if not exists workflows (
    workflow text    primary key,
    name     text    not null,
    position integer not null
) without rowid;

-- Only sums: they do not depend on the order of events.
-- Money is an integer of 10^-18 USD, which represents every cost exactly; stored as text because it may exceed 64 bits.
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
