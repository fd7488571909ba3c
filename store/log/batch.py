"""A batch of waiting commands: selection, encoding, and the outcome of each."""

from asyncio import Future
from collections import deque
from datetime import datetime
from functools import lru_cache
from typing import Final
from uuid import UUID

from msgspec import Struct

from domain.fact import get_topic
from store.errors import Conflict
from store.log.codec import encode_fact, encode_metadata
from store.log.json_encoding import weigh_json
from store.log.records import Accepted, Append, Recorded
from store.postgres.arrays import Column, blobs, documents, ints, longs, texts, uuids

APPEND: Final = """
select head_before, stamped_at, conflicts, duplicates, moved, moved_by
  from append_events_beside($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
"""
"""Append a batch of commands under the head lock, each accepted or refused on its own (see 0002_append.sql).

Those whose facts may stand beside others move along with their streams first (see 0004_append_beside.sql)."""


_topic_of: Final = lru_cache(maxsize=None)(get_topic)
"""Cache size; there are some dozens of kinds of facts."""


class Waiting(Struct):
    """One command in the queue, encoded, with the future that its caller awaits."""

    append: Append
    states: list[bytes]
    metadata: bytes
    size: int  # bytes of all states
    outcome: Future[Accepted | None]  # None: a command with this id had been accepted before


def waiting(append: Append, outcome: Future[Accepted | None]) -> Waiting:
    """Encode a command for the queue. Raises FactTooLarge, UnstorableText, and ValueError for no facts at all."""
    if not append.facts:
        raise ValueError("a command must append at least one fact")
    states = [encode_fact(fact) for fact in append.facts]
    return Waiting(
        append=append,
        states=states,
        metadata=encode_metadata(append.metadata),
        size=sum(map(len, states)),
        outcome=outcome,
    )


def take_batch(queue: deque[Waiting], most_events: int, most_bytes: int) -> list[Waiting]:
    """Remove and return the commands that may share a batch, in order; leave the others in the queue.

    The batch is closed by the command with which it reaches a bound, so that no command is too large for a batch.

    At most one command a stream and a command id: the function compares with what is committed, not with the rest
    of its batch. For the same reason a guard must not name a stream that the batch writes.
    """
    taken: list[Waiting] = []
    left: list[Waiting] = []
    written: set[int | bytes] = set()  # streams as integers: a UUID's own hash is slow
    guarded: set[int] = set()
    events = size = 0
    # The search is bounded as well: with one busy stream the whole queue would be scanned for every batch.
    while queue and events < most_events and size < most_bytes and len(left) < most_events:
        command = queue.popleft()
        if command.outcome.done():  # its caller was cancelled before it was sent
            continue
        append = command.append
        stream = append.stream_id.int
        if _clashes(stream, append, written, guarded):
            left.append(command)
            # Waiting commands keep their order: no later one on the same stream may overtake them.
            written.add(stream)
            continue
        written.add(stream)
        if append.command_id is not None:
            written.add(append.command_id.key)
        for guard in append.guards:
            guarded.add(guard.stream_id.int)
        taken.append(command)
        events += len(command.states)
        size += command.size
    queue.extendleft(reversed(left))
    return taken


def _clashes(stream: int, append: Append, written: set[int | bytes], guarded: set[int]) -> bool:
    return (
        stream in written
        or stream in guarded
        or (append.command_id is not None and append.command_id.key in written)
        or not written.isdisjoint([guard.stream_id.int for guard in append.guards])
    )


def parameters(batch: list[Waiting], *, wake: bool) -> list[Column | bool]:
    """Return the parameters of APPEND: one array per column, so that a batch of any size is one statement."""
    appends = [command.append for command in batch]
    guards = [(ordinal, guard) for ordinal, append in enumerate(appends, start=1) for guard in append.guards]
    return [
        uuids([append.stream_id for append in appends]),
        longs([append.expected_version for append in appends]),
        *_events(batch),
        ints([ordinal for ordinal, _ in guards]),
        uuids([guard.stream_id for _, guard in guards]),
        longs([guard.version for _, guard in guards]),
        *_command_ids(appends),
        wake,
        *_beside(appends),
    ]


def _events(batch: list[Waiting]) -> list[Column]:
    """Return a row for each fact. Values that a command's facts share are repeated, not looked up for each of them."""
    ordinals: list[int] = []
    streams: list[UUID] = []
    versions: list[int] = []
    workspaces: list[UUID] = []
    projects: list[UUID | None] = []
    topics: list[str] = []
    states: list[bytes] = []
    metadata: list[bytes] = []
    for ordinal, command in enumerate(batch, start=1):
        append = command.append
        facts = len(append.facts)
        first = append.expected_version + 1
        ordinals += [ordinal] * facts
        streams += [append.stream_id] * facts
        versions += range(first, first + facts)
        workspaces += [append.workspace_id] * facts
        projects += [append.project_id] * facts
        topics += [_topic_of(type(fact)) for fact in append.facts]
        states += command.states
        metadata += [command.metadata] * facts
    return [
        ints(ordinals),
        uuids(streams),
        longs(versions),
        uuids(workspaces),
        uuids(projects),
        texts(topics),
        blobs(states),
        documents(metadata),
    ]


def _command_ids(appends: list[Append]) -> list[Column]:
    ids = [(ordinal, append, append.command_id) for ordinal, append in enumerate(appends, start=1)]
    sent = [(ordinal, append, command_id) for ordinal, append, command_id in ids if command_id is not None]
    return [
        ints([ordinal for ordinal, _, _ in sent]),
        blobs([command_id.key for _, _, command_id in sent]),
        blobs([command_id.request_hash for _, _, command_id in sent]),
        longs([append.expected_version + len(append.facts) for _, append, _ in sent]),
    ]


def _beside(appends: list[Append]) -> list[Column]:
    pairs = [(ordinal, append.contradicted_by) for ordinal, append in enumerate(appends, start=1)]
    beside = [(ordinal, topics) for ordinal, topics in pairs if topics is not None]
    return [ints([ordinal for ordinal, _ in beside]), texts([" ".join(topics) for _, topics in beside])]


def settle(  # a column of the answer each
    batch: list[Waiting],
    head: int,
    recorded_at: datetime,
    conflicts: list[int] | None,
    duplicates: list[int] | None,
    moved: list[int] | None = None,
    moved_by: list[int] | None = None,
) -> list[Recorded]:
    """Answer every caller of a batch and return the recorded facts in order of position."""
    lost = frozenset(conflicts or ())
    repeated = frozenset(duplicates or ())
    steps = dict(zip(moved or (), moved_by or (), strict=True))
    recorded: list[Recorded] = []
    position = head
    for ordinal, command in enumerate(batch, start=1):
        if ordinal in repeated:
            answer(command, None)
        elif ordinal in lost:
            refuse(command, Conflict(command.append.stream_id, command.append.expected_version))
        else:
            facts = _number_facts(command, position, recorded_at, steps.get(ordinal, 0))
            position += len(facts)
            recorded.extend(facts)
            version = facts[-1].version
            answer(command, Accepted(version=version, position=position, recorded_at=recorded_at, recorded=facts))
    return recorded


def _number_facts(command: Waiting, position: int, recorded_at: datetime, moved_by: int) -> tuple[Recorded, ...]:
    append = command.append
    after = append.expected_version + moved_by
    stream_id, workspace_id, project_id, metadata = (
        append.stream_id,
        append.workspace_id,
        append.project_id,
        append.metadata,
    )
    recorded = [
        Recorded(
            position=position + offset,
            stream_id=stream_id,
            version=after + offset,
            workspace_id=workspace_id,
            project_id=project_id,
            fact=fact,
            metadata=metadata,
            recorded_at=recorded_at,
            weight=weigh_json(state),
        )
        for offset, (fact, state) in enumerate(zip(append.facts, command.states, strict=True), start=1)
    ]
    return tuple(recorded)


def answer(command: Waiting, outcome: Accepted | None) -> None:
    """Resolve the future of a caller, unless it was cancelled."""
    if not command.outcome.done():
        command.outcome.set_result(outcome)


def refuse(command: Waiting, fault: Exception) -> None:
    """Fail the future of a caller whose command was not accepted, unless it was cancelled."""
    if not command.outcome.done():
        command.outcome.set_exception(fault)
