-- Tickets that open one stream each, redeemed by any process. Not durable: they are valid for seconds.

create unlogged table stream_tickets (
    ticket_hash         bytea primary key,
    caller              bytea not null,
    expires_at          timestamptz not null
);

create index stream_tickets_by_expiry on stream_tickets (expires_at);

comment on table stream_tickets is 'Unredeemed tickets of event streams. Lost in a crash of the database.';
