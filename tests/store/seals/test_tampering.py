"""Whoever edits the database is found: each kind of edit is located by a verification with the public key alone."""

from collections.abc import AsyncGenerator
from typing import Final, LiteralString

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from uuid_utils.compat import uuid7

from callsheet.wiring.core import COMPONENTS
from store.contents import PostgresContents
from store.log.epochs import read_state
from store.postgres.migrations import migrate
from store.seals.merkle import hash_leaf
from store.seals.notes import Checkpoint, SignerKey, VerifierKey, sign_note
from store.seals.seal_store import read_seal_head
from store.seals.sealer import format_origin
from store.seals.verify import LogVerified, Verification
from tests.store.seals.test_sealer import SIGNER, append_projects, read_head, sealing, wait_until_sealed
from tests.support.servers.postgres import PostgresForTests
from tests.support.store.given import WORKSPACE, create_append, open_log

EVENTS: Final = 600
STRANGER: Final = SignerKey("callsheet/test", bytes(32))
SEALED: Final = "sealed_for_tampering"
EDITED: Final = "edited_by_somebody"


@pytest.fixture(scope="module")
def server(postgres_servers: dict[int, PostgresForTests]) -> PostgresForTests:
    if 18 not in postgres_servers:
        postgres_servers[18] = PostgresForTests(18)
    return postgres_servers[18]


@pytest.fixture(scope="module")
async def sealed_database(server: PostgresForTests) -> AsyncGenerator[str]:
    """Create a database with a sealed log that refers to a content, to be copied for each edit."""
    async with await psycopg.AsyncConnection.connect(server.conninfo, autocommit=True) as admin:
        await admin.execute(f"create database {SEALED}".encode())
        database = make_conninfo(server.conninfo, dbname=SEALED)
        await migrate(database, COMPONENTS)
        async with open_log(database) as log:
            await append_projects(log, EVENTS - 2)
            digest = await PostgresContents(log.sessions).put(WORKSPACE, b'{"n": 1}', "application/json")
            await log.append(create_append(uuid7(), 0))
            async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
                state = f'{{"fact":"project.created","name":"Launch","owner":"ada","x":{{"$ref":"{digest}"}}}}'
                await connection.execute(
                    "update events set state = %s where notification_id = %s", [state.encode(), EVENTS - 1]
                )
            await log.append(create_append(uuid7(), 0))
            async with sealing(database, log.identity, page_events=100):
                await wait_until_sealed(database, EVENTS)
        yield database
        await admin.execute(f"drop database {SEALED} with (force)".encode())


@pytest.fixture
async def edited_database(sealed_database: str, server: PostgresForTests) -> AsyncGenerator[str]:
    """Create a copy of the sealed database, to be edited."""
    async with await psycopg.AsyncConnection.connect(server.conninfo, autocommit=True) as admin:
        await admin.execute(f"create database {EDITED} template {SEALED}".encode())
        yield make_conninfo(sealed_database, dbname=EDITED)
        await admin.execute(f"drop database {EDITED} with (force)".encode())


async def verify(database: str, *notes: str, trusted: tuple[VerifierKey, ...] = (SIGNER.verifier,)) -> LogVerified:
    async with await psycopg.AsyncConnection.connect(database) as connection:
        return await Verification(connection, trusted, notes, lambda _done, _all: None).run()


async def edit(database: str, *statements: LiteralString) -> None:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        for statement in statements:
            assert (await connection.execute(statement)).rowcount != 0, statement


async def test_an_untouched_log_is_verified(edited_database: str) -> None:
    found = await verify(edited_database)
    assert (found.divergences, found.checked, found.unsealed, found.checkpoints) == ((), EVENTS, 0, 1)


EDITS: Final[dict[str, tuple[int | None, str, tuple[LiteralString, ...]]]] = {
    "a changed byte": (
        300,
        "differs from what was sealed",
        ("update events set state = set_byte(state, 12, 88) where notification_id = 300",),
    ),
    "a changed name": (
        7,
        "differs",
        ("update events set state = overlay(state placing '\\x4c756e6368'::bytea from 36) where notification_id = 7",),
    ),
    "another actor": (
        8,
        "differs",
        ("update events set metadata = replace(metadata::text, 'ada', 'eve')::json where notification_id = 8",),
    ),
    "an earlier time": (
        9,
        "differs",
        ("update events set recorded_at = recorded_at - interval '1 day' where notification_id = 9",),
    ),
    "a time changed by a microsecond": (
        9,
        "differs",
        ("update events set recorded_at = recorded_at + interval '1 microsecond' where notification_id = 9",),
    ),
    "another topic": (10, "differs", ("update events set topic = 'project.renamed' where notification_id = 10",)),
    "another stream": (
        11,
        "differs",
        ("update events set originator_id = gen_random_uuid() where notification_id = 11",),
    ),
    "another version": (12, "differs", ("update events set originator_version = 9 where notification_id = 12",)),
    "another workspace": (
        13,
        "differs",
        ("update events set workspace_id = gen_random_uuid() where notification_id = 13",),
    ),
    "another project": (
        14,
        "differs",
        ("update events set project_id = gen_random_uuid() where notification_id = 14",),
    ),
    "another format": (15, "differs", ("update events set state_format = 0 where notification_id = 15",)),
    "another key id": (16, "differs", ("update events set key_id = 'k' where notification_id = 16",)),
    "white space in the metadata": (
        17,
        "differs",
        ("update events set metadata = (metadata::text || ' ')::json where notification_id = 17",),
    ),
    "white space in the state": (
        18,
        "differs",
        ("update events set state = state || convert_to(' ', 'UTF8') where notification_id = 18",),
    ),
    "a state that is no text": (19, "differs", ("update events set state = '\\xff00' where notification_id = 19",)),
    "swapped events": (
        20,
        "differs",
        (
            "update events set notification_id = -1 where notification_id = 20",
            "update events set notification_id = 20 where notification_id = 21",
            "update events set notification_id = 21 where notification_id = -1",
        ),
    ),
    "a deleted event": (22, "is missing", ("delete from events where notification_id = 22",)),
    "a deleted event with later ones moved down": (
        None,
        "its end was deleted",
        (
            "delete from events where notification_id = 599",
            "update events set notification_id = 599 where notification_id = 600",
            "update log_head set position = 599",
        ),
    ),
    "a deleted end": (
        None,
        "its end was deleted",
        ("delete from events where notification_id > 590", "update log_head set position = 590"),
    ),
    "an inserted event": (
        None,
        "the head of the seals is 601",
        (
            "create temp table copied as select * from events where notification_id = 600",
            "update copied set notification_id = 601, originator_id = gen_random_uuid()",
            "insert into events select * from copied",
            "update log_head set position = 601",
            "update seal_head set size = 601",
        ),
    ),
    "another content": (None, "has other bytes", ("update contents set bytes = '{}'",)),
    "a deleted content": (None, "is missing", ("delete from contents",)),
    "a changed leaf hash": (
        30,
        "the sealed hash was changed",
        ("update seal_tiles set hashes = set_byte(hashes, 928, get_byte(hashes, 928) # 1) where level + number = 0",),
    ),
    "a changed hash above": (
        None,
        "tile 0 of level 1 differs",
        ("update seal_tiles set hashes = set_byte(hashes, 0, get_byte(hashes, 0) # 1) where level = 1",),
    ),
    "truncated tiles": (
        512 + 1,
        "the sealed hash of the event is missing",
        ("delete from seal_tiles where (level, number) = (0, 2)",),
    ),
    "a shortened tile": (
        600,
        "the sealed hash of the event is missing",
        ("update seal_tiles set hashes = substr(hashes, 1, length(hashes) - 32) where (level, number) = (0, 2)",),
    ),
    "a changed size in the checkpoint": (
        None,
        "the signature of callsheet/test is wrong",
        ("update seal_head set note = replace(note, E'\\n600\\n', E'\\n599\\n')",),
    ),
    "a checkpoint without signature": (
        None,
        "is not valid",
        ("update seal_head set note = split_part(note, E'\\n\\n', 1) || E'\\n\\n'",),
    ),
    "a deleted checkpoint": (None, "nothing is sealed", ("update seal_head set note = null",)),
    "another log": (None, "this log is", ("update log_head set log_id = gen_random_uuid()",)),
}


@pytest.mark.parametrize("name", EDITS)
async def test_every_edit_is_found_and_located(name: str, sealed_database: str) -> None:
    """The edit is made and looked for in one transaction, which is then rolled back."""
    position, what, statements = EDITS[name]
    async with await psycopg.AsyncConnection.connect(sealed_database) as connection:
        for statement in statements:
            assert (await connection.execute(statement)).rowcount != 0, statement
        found = await Verification(connection, [SIGNER.verifier], (), lambda _done, _all: None).run()
        await connection.rollback()
    assert found.divergences, "nothing was found"
    assert (found.divergences[0].position, what in found.divergences[0].what) == (position, True), found.divergences[:3]


def test_there_are_enough_kinds_of_edits() -> None:
    assert len(EDITS) >= 25


async def test_a_forged_checkpoint_is_not_accepted(edited_database: str) -> None:
    """An intruder without the key seals an edited log again, with a key of the same name."""
    await edit(edited_database, "update events set topic = 'project.renamed' where notification_id = 5")
    async with await psycopg.AsyncConnection.connect(edited_database, autocommit=True) as connection:
        identity = (await read_state(connection)).identity
        await connection.execute("truncate seal_tiles")
        await connection.execute("update seal_head set size = 0, origin = null, note = null")
        checkpoint = Checkpoint(origin=format_origin(identity), size=EVENTS, root=hash_leaf(b""))
        note = sign_note(checkpoint.format(), [STRANGER])
        await connection.execute("update seal_head set note = %s, size = %s", [note, EVENTS])
    assert "no trusted key has signed" in (await verify(edited_database)).divergences[0].what


async def test_a_log_that_was_rewritten_and_sealed_anew_is_found_by_a_checkpoint_from_elsewhere(
    edited_database: str,
) -> None:
    """Whoever has the key as well can rewrite everything but what others keep."""
    kept = (await read_head(edited_database)).note
    assert kept is not None
    await edit(
        edited_database,
        "update events set topic = 'project.renamed' where notification_id = 5",
        "truncate seal_tiles",
        "update seal_head set size = 0, origin = null, note = null",
    )
    async with open_log(edited_database) as log, sealing(edited_database, log.identity, page_events=100):
        await wait_until_sealed(edited_database, EVENTS)
    assert (await verify(edited_database)).divergences == ()
    (divergence,) = (await verify(edited_database, kept)).divergences
    assert divergence.what == f"the first {EVENTS} events do not give the root that was signed for them"


async def test_a_database_that_was_rolled_back_is_found_by_a_checkpoint_from_elsewhere(edited_database: str) -> None:
    async with open_log(edited_database) as log, sealing(edited_database, log.identity, page_events=100):
        await append_projects(log, 5)
        kept = (await wait_until_sealed(edited_database, EVENTS + 5)).note
        assert kept is not None
    await edit(
        edited_database,
        "delete from events where notification_id > 600",
        "update log_head set position = 600",
        "truncate seal_tiles",
        "update seal_head set size = 0, origin = null, note = null",
    )
    async with open_log(edited_database) as log, sealing(edited_database, log.identity, page_events=100):
        await wait_until_sealed(edited_database, EVENTS)
    assert "its end was deleted" in (await verify(edited_database, kept)).divergences[0].what


async def test_a_retired_key_is_trusted_only_by_who_still_lists_it(edited_database: str) -> None:
    async with await psycopg.AsyncConnection.connect(edited_database) as connection:
        assert (await read_seal_head(connection)).size == EVENTS
    assert (
        (await verify(edited_database, trusted=(STRANGER.verifier,)))
        .divergences[0]
        .what.endswith("no trusted key has signed the note")
    )
    assert (await verify(edited_database, trusted=(STRANGER.verifier, SIGNER.verifier))).divergences == ()
