"""Output of `callsheet events tail`: events in order, and notices about gaps and restores between them."""

import sys
from collections.abc import Iterable
from typing import Any, Final

import rich_click as click
from msgspec import Struct

from callsheet.operate.event_lines import build_envelope, format_event_line, resolve_contents
from callsheet.operate.printing import print_json_line
from store.log.epochs import read_state
from store.log.gaps import find_gaps
from store.log.identity import LogIdentity
from store.log.queries import LogFilter
from store.log.raw_reads import Connection, read_raw_latest, read_raw_page
from store.log.records import StoredEvent

PAGE_EVENTS: Final = 200
"""How many events are in memory at a time; each is at most 256 KB."""

LAST_EVENTS: Final = 20
POLL_SECONDS: Final = 1.0
"""How often `--follow` looks when no commit wakes it."""


class TailOptions(Struct, frozen=True, kw_only=True):
    """Options of `tail`; `after` is a position with the tag of its epoch, if it has one."""

    only: LogFilter
    begin: int | None
    after: tuple[str | None, int] | None
    last: int | None
    limit: int | None
    follow: bool
    as_json: bool
    contents: bool


class PositionGone(Exception):  # noqa: N818  # an answer to the person who asked
    """The log does not have the facts up to the position any more."""


class Tail:
    """Print the events of a log over one connection."""

    def __init__(self, connection: Connection, asked: TailOptions, identity: LogIdentity, head: int) -> None:
        """Create it for a log that ends at `head`."""
        self._connection = connection
        self._asked = asked
        self._identity: LogIdentity = identity
        self._head: int = head
        self._after: int = head
        self._left = sys.maxsize if asked.limit is None else asked.limit
        self.has_gaps = False

    async def run(self) -> None:
        """Print until the end of the log, or with `--follow` until cancelled. Raises PositionGone."""
        asked = self._asked
        if asked.begin is not None or asked.after is not None:
            self._after = self._find_start(asked)
            self._left = self._left if asked.last is None else min(self._left, asked.last)
            most = self._left
        else:
            most = self._left
            last = LAST_EVENTS if asked.last is None else asked.last
            found = await read_raw_latest(self._connection, head=self._head, limit=last, only=asked.only)
            await self._report_gaps(found[0].position if found else self._head, self._head)
            await self._print(found[: self._left], self._head)
        while self._left > 0:
            while self._after < self._head and self._left > 0:
                await self._print_page()
            if not asked.follow or self._left <= 0:
                break
            async for _ in self._connection.notifies(timeout=POLL_SECONDS, stop_after=1):
                pass
            await self._look()
        if self._left == most and not asked.as_json:
            click.echo(f"callsheet: no event to show; the log ends at {self._head}", err=True)

    def _find_start(self, asked: TailOptions) -> int:
        if asked.after is None:
            return (asked.begin or 1) - 1
        tag, position = asked.after
        valid = position if tag is None else self._identity.find_valid_position(tag, position)
        if valid != position or position > self._head:
            reset = self._identity.format_event_id(min(valid or 0, self._head))
            raise PositionGone(f"a restore has removed position {position} from this log; resume with --after {reset}")
        return position

    async def _print_page(self) -> None:
        limit = min(PAGE_EVENTS, self._left)
        found, through = await read_raw_page(
            self._connection, after=self._after, head=self._head, limit=limit, only=self._asked.only
        )
        await self._report_gaps(self._after, through)
        await self._print(found, through)

    async def _report_gaps(self, after: int, through: int) -> None:
        for gap in await find_gaps(self._connection, after=after, through=through):
            self.has_gaps = True
            click.echo(f"callsheet: {gap} of the log: the row is missing; `callsheet doctor` says more", err=True)

    async def _print(self, found: Iterable[StoredEvent], through: int) -> None:
        for stored in found:
            self._left -= 1
            if self._asked.as_json or self._asked.contents:
                contents = self._asked.contents
                print_json_line(await build_output(self._connection, self._identity, stored, contents=contents))
            else:
                click.echo(format_event_line(self._identity, stored))
        self._after = through

    async def _look(self) -> None:
        """Read the head; when a restore has rewound the log, go back to where it did."""
        state = await read_state(self._connection)
        if state.identity.tag != self._identity.tag:
            valid = state.identity.find_valid_position(self._identity.tag, self._after) or 0
            click.echo(
                f"callsheet: the log was restored; the epoch {state.identity.tag} begins after position "
                f"{state.identity.epoch.after}, and events printed after {valid} are no longer in it",
                err=True,
            )
            self._after = valid
        self._identity, self._head = state.identity, state.head


async def tail_log(connection: Connection, asked: TailOptions) -> bool:
    """Print the events of the log; return whether positions were missing. Raises PositionGone."""
    await connection.execute("listen callsheet_log")
    state = await read_state(connection)
    tail = Tail(connection, asked, state.identity, state.head)
    await tail.run()
    return tail.has_gaps


async def build_output(
    connection: Connection, identity: LogIdentity, stored: StoredEvent, *, contents: bool
) -> dict[str, Any]:
    """Return the envelope of an event, with its large contents if they are asked for."""
    envelope = build_envelope(identity, stored)
    if contents and "data" in envelope:
        envelope["data"] = await resolve_contents(connection, stored.workspace_id, envelope["data"])
    return envelope
