"""Compare the live tables with a generation's at one position, without blocking their writers.

The live tables are read in a snapshot; the rebuild is advanced to exactly the checkpoint of that snapshot.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct
from psycopg import AsyncConnection
from psycopg.sql import SQL, Composed, Identifier

from projections.rebuild.report import Difference, TableReport

Connection = AsyncConnection[tuple[Any, ...]]
Row = tuple[str, int]

SNAPSHOT: Final = "begin isolation level repeatable read read only"
"""Begin a snapshot of the rows committed now."""

HASH: Final = SQL("""
select count(*), coalesce(sum(hashtextextended(row_text, 0)::numeric), 0)::text,
       coalesce(sum(hashtextextended(row_text, 1)::numeric), 0)::text
  from {} as t cross join lateral (select t::text as row_text) as whole
""")
"""Sum the hashes of all rows: independent of their order, and unlike an exclusive or it counts duplicates."""

KEY: Final = """
select a.attname::text
  from pg_index x
  join pg_attribute a on a.attrelid = x.indrelid and a.attnum = any (x.indkey)
 where x.indrelid = (select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
                      where n.nspname = %(schema)b::text and c.relname = %(table)b::text)
   and x.indisprimary
 order by array_position(x.indkey::int2[], a.attnum)
"""
"""Read the columns of a table's primary key."""

ROWS: Final = SQL("""
select key, hashtextextended(t::text, 0)
  from {} as t cross join lateral (select row({})::text collate "C" as key) as named
 order by key
""")
"""Read the hash of every row, in an order that Python has too."""

WHOLE: Final = SQL("""
select key, row_to_json(t)::text
  from {} as t cross join lateral (select row({})::text as key) as named
 where key = any (%b::text[])
""")
"""Read some rows whole."""

FETCHED: Final = 5_000
MODULUS: Final = 2**64


class Sides(Struct, frozen=True, kw_only=True):
    """The two sides of a comparison: a connection within a snapshot and a schema each. `at_once`: concurrently."""

    former: Connection
    former_schema: str
    new: Connection
    new_schema: str
    at_once: bool = True


async def compare(sides: Sides, table: str, *, samples: int) -> TableReport:
    """Compare one table; its rows are compared one by one only if the hashes differ."""
    former, new = await _hashes(sides, table)
    found = _Found(samples)
    if former != new:
        key = await _key(sides.new, sides.new_schema, table)
        await _merge(
            _rows(sides.former, sides.former_schema, table, key), _rows(sides.new, sides.new_schema, table, key), found
        )
        await _name_columns(sides, table, key, found)
    return TableReport(
        table=table,
        rows_former=former[0],
        rows_new=new[0],
        hash_former=former[1],
        hash_new=new[1],
        different=found.count,
        samples=tuple(found.samples),
    )


class _Found:
    """The differences: all are counted, some are kept as samples."""

    def __init__(self, most: int) -> None:
        self.count = 0
        self.samples: list[Difference] = []
        self._most = most

    def take(self, difference: Difference) -> None:
        self.count += 1
        if len(self.samples) < self._most:
            self.samples.append(difference)


async def _hashes(sides: Sides, table: str) -> tuple[tuple[int, str], tuple[int, str]]:
    if sides.at_once:
        return await asyncio.gather(
            _hash(sides.former, sides.former_schema, table), _hash(sides.new, sides.new_schema, table)
        )
    former = await _hash(sides.former, sides.former_schema, table)
    return former, await _hash(sides.new, sides.new_schema, table)


async def _hash(connection: Connection, schema: str, table: str) -> tuple[int, str]:
    cursor = await connection.execute(HASH.format(Identifier(schema, table)))
    row = await cursor.fetchone()
    assert row is not None  # an aggregate gives a row  # noqa: S101
    rows, first, second = row
    return rows, f"{int(first) % MODULUS:016x}{int(second) % MODULUS:016x}"


async def _key(connection: Connection, schema: str, table: str) -> Composed:
    cursor = await connection.execute(KEY, {"schema": schema, "table": table})
    return SQL(", ").join(Identifier(name) for (name,) in await cursor.fetchall())


async def _rows(connection: Connection, schema: str, table: str, key: Composed) -> AsyncIterator[Row]:
    async with connection.cursor(name="rows") as cursor:
        await cursor.execute(ROWS.format(Identifier(schema, table), key))
        while rows := await cursor.fetchmany(FETCHED):
            for row in rows:
                yield row[0], row[1]


async def _merge(former: AsyncIterator[Row], new: AsyncIterator[Row], found: _Found) -> None:
    """Merge two sides in the order of their keys, and record the differences."""
    ours, theirs = await anext(former, None), await anext(new, None)
    while ours is not None or theirs is not None:
        if theirs is None or (ours is not None and ours[0] < theirs[0]):
            assert ours is not None  # the loop's condition  # noqa: S101
            found.take(Difference(key=ours[0], kind="former"))
            ours = await anext(former, None)
        elif ours is None or theirs[0] < ours[0]:
            found.take(Difference(key=theirs[0], kind="new"))
            theirs = await anext(new, None)
        else:
            if ours[1] != theirs[1]:
                found.take(Difference(key=ours[0], kind="changed"))
            ours, theirs = await anext(former, None), await anext(new, None)


async def _name_columns(sides: Sides, table: str, key: Composed, found: _Found) -> None:
    """Return the samples with the differing columns of rows that are on both sides."""
    keys = [sample.key for sample in found.samples if sample.kind == "changed"]
    if not keys:
        return
    former = await _whole(sides.former, Identifier(sides.former_schema, table), key, keys)
    new = await _whole(sides.new, Identifier(sides.new_schema, table), key, keys)
    found.samples = [
        sample
        if sample.kind != "changed"
        else Difference(
            key=sample.key,
            kind=sample.kind,
            columns=tuple(
                name for name, value in former[sample.key].items() if bytes(new[sample.key][name]) != bytes(value)
            ),
        )
        for sample in found.samples
    ]


async def _whole(
    connection: Connection, table: Identifier, key: Composed, keys: Sequence[str]
) -> dict[str, dict[str, msgspec.Raw]]:
    cursor = await connection.execute(WHOLE.format(table, key), [list(keys)])
    return {name: msgspec.json.decode(text, type=dict[str, msgspec.Raw]) for name, text in await cursor.fetchall()}
