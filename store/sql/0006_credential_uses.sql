-- When credentials were last used. Outside of the log, and not durable: written at most once a minute for each.

create unlogged table credential_uses (
    credential_id       uuid primary key,
    last_used_at        timestamptz not null
) with (fillfactor = 50);

comment on table credential_uses is 'Last use of each API key, up to a minute late. Lost in a crash of the database.';
