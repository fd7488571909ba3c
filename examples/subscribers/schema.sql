-- The tables of both subscribers. An event's id and what it adds are one row, so that an event that is delivered again
-- adds nothing, and one that a restore has removed from the log is taken back by deleting it.

-- The filter whose events this file counts, so that two filters are never mixed; the number of duplicate deliveries; and
-- the number of events that were counted, or delivered, and are no longer in the log.
create table if not exists scope (
    one         integer primary key check (one = 1),
    subject     text    not null,
    seen_before integer not null default 0,
    removed     integer not null default 0
);

-- Every event that was counted, with what it adds. The id is `<epoch>-<position>`, where the epoch is a tag of the log.
-- Money is an integer of 10^-18 USD, which represents every cost exactly; stored as text because it may exceed 64 bits.
create table if not exists events (
    id            text    primary key,
    log           text    not null, -- the end of the log's id; the tag of its first epoch
    epoch         text    not null,
    position      integer not null,
    subject       text    not null, -- the run or the workflow
    workspace     text    not null,
    day           text    not null,
    workflow      text,             -- of a run, in `run.started`
    name          text,             -- of a workflow, in the facts that name it
    started       integer not null,
    completed     integer not null,
    failed        integer not null,
    cancelled     integer not null,
    model_calls   integer not null,
    input_tokens  integer not null,
    output_tokens integer not null,
    cost_atto_usd text    not null
) without rowid;

create index if not exists events_by_position on events (log, position);

-- The epochs of each log after the first: a restore begins one, and the facts of earlier epochs after the position `after` are gone.
create table if not exists epochs (
    log   text    not null,
    epoch text    not null,
    after integer not null,
    primary key (log, epoch)
) without rowid;

-- Events that could not be read, and so are not counted. Once the program can read them, a backfill counts them.
create table if not exists unreadable (
    id      text primary key,
    because text not null
) without rowid;

-- The workflow of each run. Other facts of the run may arrive before `run.started` (a backfill comes late).
create view if not exists runs as
    select subject as run, workflow from events where workflow is not null;

-- The name of each workflow: the one with the highest position, not the one that arrived last.
create view if not exists workflows as
    select subject as workflow, name, max(position) from events where name is not null group by subject;

-- What each event adds to the sums, which do not depend on the order of events.
create view if not exists counts as
    select subject as run, workspace, day, started, completed, failed, cancelled, model_calls, input_tokens, output_tokens,
           cost_atto_usd
      from events
     where started + completed + failed + cancelled + model_calls > 0;
