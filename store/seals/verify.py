"""Verification of a log against its seals: every event is hashed again, and every difference is located."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct
from psycopg import AsyncConnection

from store.log.epochs import LogState, read_state
from store.log.identity import LogIdentity
from store.log.raw_reads import read_sealed_range
from store.log.records import StoredEvent
from store.seals.leaves import hash_event
from store.seals.merkle import HASH_BYTES, compute_root
from store.seals.notes import Checkpoint, NoteInvalid, VerifierKey, open_note
from store.seals.seal_store import read_seal_head, read_tiles
from store.seals.sealer import format_origin
from store.seals.tiles import TILE_WIDTH, TileId, Tiles

Connection = AsyncConnection[tuple[Any, ...]]

PAGE_EVENTS: Final = 16 * TILE_WIDTH
FINDINGS_MAX: Final = 100

REFERENCE: Final = re.compile(rb'"[$]ref":"sha256:([0-9a-f]{64})"')

WRONG_CONTENTS: Final = """
select encode(r.digest, 'hex'), c.sha256 is null
  from unnest(%(workspaces)b::uuid[], %(digests)b::bytea[]) as r (workspace, digest)
  left join contents c on c.workspace_id = r.workspace and c.sha256 = r.digest
 where c.sha256 is null or sha256(c.bytes) <> c.sha256
"""
"""Read which contents are missing, or have other bytes than those that they are named by."""


class Divergence(Struct, frozen=True, kw_only=True):
    """A difference between the log and its seals; `position` is None if it is not of one event."""

    position: int | None
    what: str


class LogVerified(Struct, frozen=True, kw_only=True):
    """The result of a verification. The first 100 differences are listed, `more` are not.

    `checked` events were hashed, which is all that were sealed unless some are missing; `unsealed` are later ones.
    """

    origin: str
    checked: int
    unsealed: int
    root: str
    checkpoints: int
    divergences: tuple[Divergence, ...]
    more: int


class Verification:
    """One verification of the log of a database."""

    def __init__(
        self,
        connection: Connection,
        trusted: Sequence[VerifierKey],
        notes: Sequence[str],
        on_progress: Callable[[int, int], None],
    ) -> None:
        """Create it. `notes` are signed checkpoints from elsewhere; `on_progress` gets the checked events and all."""
        self._connection = connection
        self._trusted = trusted
        self._notes = notes
        self._on_progress = on_progress
        self._ours = Tiles(0, {})
        self._expected: dict[int, list[bytes]] = {}
        self._changed: list[int] = []
        self._unsigned: list[int] = []
        self._checked = 0
        self._divergences: list[Divergence] = []
        self._more = 0

    async def run(self) -> LogVerified:
        """Hash every sealed event again, and compare with the tiles and with every checkpoint."""
        state = await read_state(self._connection)
        size = await self._open_checkpoints(state)
        for after in range(0, size, PAGE_EVENTS):
            await self._check_page(after, min(size, after + PAGE_EVENTS))
            self._on_progress(min(size, after + PAGE_EVENTS), size)
        self._explain_changes(size)
        return LogVerified(
            origin=format_origin(state.identity),
            checked=self._checked,
            unsealed=max(0, state.head - size),
            root=compute_root(size, self._ours.read_node).hex(),
            checkpoints=sum(map(len, self._expected.values())),
            divergences=tuple(self._divergences),
            more=self._more,
        )

    def _find(self, what: str, position: int | None = None) -> None:
        if len(self._divergences) < FINDINGS_MAX:
            self._divergences.append(Divergence(position=position, what=what))
        else:
            self._more += 1

    async def _open_checkpoints(self, state: LogState) -> int:
        """Read the checkpoints that the log is held against; return the size of the largest that belongs to it."""
        head = await read_seal_head(self._connection)
        size = 0
        if head.note is None:
            self._find("nothing is sealed: set CALLSHEET_SEAL_KEY_FILE")
        else:
            size = self._add_checkpoint(head.note, state, "the checkpoint of the database")
            if size and size != head.size:
                self._find(f"the head of the seals is {head.size}, and its signed checkpoint says {size}")
        for number, note in enumerate(self._notes, 1):
            size = max(size, self._add_checkpoint(note, state, f"checkpoint {number} from elsewhere"))
        if state.head < size:
            self._find(f"the log ends at position {state.head}, and {size} were sealed: its end was deleted")
        return size

    def _add_checkpoint(self, note: str, state: LogState, name: str) -> int:
        try:
            checkpoint = Checkpoint.parse(open_note(note, self._trusted))
        except NoteInvalid as fault:
            self._find(f"{name} is not valid: {fault}")
            return 0
        if not belongs_to(checkpoint, state.identity):
            self._find(f"{name} is of {checkpoint.origin}, and this log is {format_origin(state.identity)}")
            return 0
        self._expected.setdefault(checkpoint.size, []).append(checkpoint.root)
        return checkpoint.size

    async def _check_page(self, after: int, through: int) -> None:
        wanted = range(after // TILE_WIDTH, (through - 1) // TILE_WIDTH + 1)
        tiles = await read_tiles(self._connection, [TileId(0, number) for number in wanted], through)
        events = await read_sealed_range(self._connection, after=after, limit=through - after)
        by_position = {event.position: event for event in events}
        for position in range(after + 1, through + 1):
            self._check_event(position, by_position.get(position), tiles)
            for root in self._expected.get(position, ()):
                if root != compute_root(position, self._ours.read_node):
                    self._unsigned.append(position)
        await self._check_upper_tiles(self._ours.take_changed())
        await self._check_contents(events)

    def _check_event(self, position: int, event: StoredEvent | None, tiles: Tiles) -> None:
        sealed = tiles.find_leaf(position - 1)
        if event is None:
            self._find("the event is missing", position)
            self._ours.append(sealed or bytes(HASH_BYTES))
            return
        self._checked += 1
        found = hash_event(event)
        if sealed is None:
            self._find("the sealed hash of the event is missing", position)
        elif found != sealed:
            self._changed.append(position)
        self._ours.append(found)

    async def _check_upper_tiles(self, ours: Mapping[TileId, bytes]) -> None:
        upper = [tile for tile in ours if tile.level > 0]
        stored = await read_tiles(self._connection, upper, self._ours.size)
        for tile in upper:
            if not stored.has_prefix(tile, ours[tile]) and not self._changed:
                self._find(f"tile {tile.number} of level {tile.level} differs from the hashes below it")

    def _explain_changes(self, size: int) -> None:
        """Report which of event and sealed hash was changed, as the signed root shows, for each event that differs."""
        root = compute_root(size, self._ours.read_node)
        is_as_signed = all(expected == root for expected in self._expected.get(size, ())) and size in self._expected
        for position in self._changed:
            if is_as_signed:
                self._find("the sealed hash was changed; the event is as it was sealed", position)
            else:
                self._find("the event differs from what was sealed", position)
        for position in self._unsigned:
            self._find(f"the first {position} events do not give the root that was signed for them")

    async def _check_contents(self, events: Sequence[StoredEvent]) -> None:
        named = {(event.workspace_id, found) for event in events for found in REFERENCE.findall(event.state)}
        if not named:
            return
        cursor = await self._connection.cursor(binary=True).execute(
            WRONG_CONTENTS.encode(),
            {
                "workspaces": [workspace for workspace, _ in named],
                "digests": [bytes.fromhex(digest.decode()) for _, digest in named],
            },
        )
        for digest, is_missing in await cursor.fetchall():
            what = "is missing" if is_missing else "has other bytes than those that it is named by"
            self._find(f"the content sha256:{digest} {what}")


def belongs_to(checkpoint: Checkpoint, identity: LogIdentity) -> bool:
    """Return whether a checkpoint is of this log: of its epoch, or of a part of an earlier one that is still valid."""
    prefix, _, tag = checkpoint.origin.rpartition("/")
    if prefix != format_origin(identity).rpartition("/")[0]:
        return False
    return identity.find_valid_position(tag, checkpoint.size) == checkpoint.size
