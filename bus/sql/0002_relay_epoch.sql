-- The relay's cursor counts within an epoch of the log: a new epoch takes it back to where that began.

alter table relay_cursors add column log_tag text;

comment on column relay_cursors.log_tag is 'The tag of the epoch under which the cursor was moved; null: the first.';
