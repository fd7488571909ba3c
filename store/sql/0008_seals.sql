-- Seals: the Merkle tree over the whole log, as tiles, and the signed root of its last state.

create table seal_tiles (
    level       smallint not null,
    number      bigint not null,
    hashes      bytea not null,
    primary key (level, number)
);

comment on table seal_tiles is
    'Runs of up to 256 hashes of 32 bytes. Only the last tile of a level grows; hashes beyond the size of the tree do not count.';

alter table seal_tiles alter column hashes set storage external;

create table seal_head (
    only_row    boolean primary key default true check (only_row),
    origin      text,
    size        bigint not null default 0,
    note        text,
    sealed_at   timestamptz
) with (fillfactor = 50);

comment on table seal_head is 'How many positions of the log are sealed, and the signed checkpoint of that tree.';

insert into seal_head default values;
