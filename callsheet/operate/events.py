"""`callsheet events`: looking into the log, at what there is and at what comes."""

# The decorators of click are typed in part only.
# pyright: reportUnknownMemberType=false

import re
import sys
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any, Final, TypeVar
from uuid import UUID

import rich_click as click
from msgspec import Struct

from bus.listener import APPLICATION_NAME
from callsheet.help_text import OPERATOR_EXIT_CODES, format_epilog
from callsheet.operate.asking import Interrupted, query_database
from callsheet.operate.event_lines import (
    build_envelope,
    find_decoding_error,
    format_event_line,
    parse_stream_id,
    resolve_contents,
)
from callsheet.operate.printing import ABSENT, INTERRUPTED, json_option, print_json, print_json_line
from callsheet.startup import exit_on_refusal
from domain.ids import Prefix, to_uuid
from store.log.codec import TOPICS
from store.log.event_id import mark_of
from store.log.queries import NO_FILTER, LogFilter
from store.log.raw_reads import Connection, read_head, read_raw_latest, read_raw_page
from store.log.records import StoredEvent

PAGE_EVENTS: Final = 200
"""How many events are in memory at a time; each is at most 256 KB."""

LAST_EVENTS: Final = 20
POLL_SECONDS: Final = 1.0
"""How often `--follow` looks when no commit wakes it."""

POSITION: Final = re.compile(r"(?:([0-9a-f]{12})-)?([0-9]{1,18})")

T = TypeVar("T")


class TailOptions(Struct, frozen=True, kw_only=True):
    """What `tail` is to print."""

    only: LogFilter
    begin: int | None
    last: int | None
    limit: int | None
    follow: bool
    as_json: bool
    contents: bool


@click.group()
def events() -> None:
    """Inspect the log: every fact, in the order of commit."""


def _create_id_parser(prefix: Prefix) -> Callable[[Any, Any, str | None], UUID | None]:
    return lambda _context, _parameter, text: None if text is None else _parse_option(lambda: to_uuid(prefix, text))


def _parse_option(read: Callable[[], T]) -> T:
    try:
        return read()
    except ValueError as wrong:
        raise click.BadParameter(str(wrong)) from None


def _parse_stream(_context: Any, _parameter: Any, text: str | None) -> UUID | None:  # noqa: ANN401  # click's
    return None if text is None else _parse_option(lambda: parse_stream_id(text))


def _match_topics(_context: Any, _parameter: Any, patterns: tuple[str, ...]) -> tuple[str, ...] | None:  # noqa: ANN401  # click's
    """Return the topics that match the patterns. Raises click.BadParameter for a pattern without a match."""
    found: set[str] = set()
    for pattern in patterns:
        matching = {topic for topic in TOPICS if fnmatchcase(topic, pattern)}
        if not matching:
            raise click.BadParameter(f"{pattern!r} matches no topic. Topics: {', '.join(sorted(TOPICS))}")
        found |= matching
    return tuple(sorted(found)) if patterns else None


@events.command(
    epilog=format_epilog(
        "events tail -n 50",
        "events tail --follow --topic 'run.*' --project prj_…",
        "events tail --from 1 -n 100 --json",
        exit_codes=f"{OPERATOR_EXIT_CODES}, 130 Ctrl-C (0 with --follow)",
    )
)
@click.option("--workspace", callback=_create_id_parser("ws"), help="Only of this workspace (ws_…).")
@click.option("--project", callback=_create_id_parser("prj"), help="Only of this project (prj_…).")
@click.option("--stream", callback=_parse_stream, help="Only of one thing (run_…, wf_…, ast_…, prj_…).")
@click.option(
    "--topic", "topics", multiple=True, callback=_match_topics, help="Only of this topic, as `run.failed` or `run.*`."
)
@click.option("--from", "begin", type=click.IntRange(1), help="Begin at this position and go on to the end of the log.")
@click.option(
    "-n",
    "--last",
    type=click.IntRange(0, 10_000),
    help=f"How many of the last to begin with, {LAST_EVENTS} unless said. With --from: how many from there on, as "
    "--limit.",
)
@click.option("--limit", type=click.IntRange(1), help="End after so many, also with --follow.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C (exit code 0) or --limit.")
@click.option("--contents", is_flag=True, help="Show large contents too (as JSON), not only their reference.")
@json_option
def tail(
    *,
    workspace: UUID | None,
    project: UUID | None,
    stream: UUID | None,
    topics: tuple[str, ...] | None,
    **how: Any,  # noqa: ANN401  # options of several types
) -> None:
    """Print events in order, one a line; with `--json` each as the CloudEvents envelope that subscribers get."""
    only = LogFilter(workspace_id=workspace, project_id=project, stream_id=stream, topics=topics)
    asked = TailOptions(only=only, **how)
    with exit_on_refusal():
        try:
            # Under this name those who append know that somebody listens, and say when they have committed.
            query_database(lambda connection: _tail_log(connection, asked), name=APPLICATION_NAME)
        except Interrupted:
            sys.exit(0 if asked.follow else INTERRUPTED)  # Ctrl-C is how following ends


async def _tail_log(connection: Connection, asked: TailOptions) -> None:
    await connection.execute("listen callsheet_log")
    head, log_id = await read_head(connection)
    left = most = sys.maxsize if asked.limit is None else asked.limit
    after = head
    if asked.begin is not None:
        after = asked.begin - 1
        left = most = left if asked.last is None else min(left, asked.last)
    else:
        last = LAST_EVENTS if asked.last is None else asked.last
        found = (await read_raw_latest(connection, head=head, limit=last, only=asked.only))[:left]
        await _print_events(connection, log_id, found, asked)
        left -= len(found)
    while left > 0:
        while after < head and left > 0:
            limit = min(PAGE_EVENTS, left)
            found, after = await read_raw_page(connection, after=after, head=head, limit=limit, only=asked.only)
            await _print_events(connection, log_id, found, asked)
            left -= len(found)
        if not asked.follow or left <= 0:
            break
        async for _ in connection.notifies(timeout=POLL_SECONDS, stop_after=1):
            pass
        head, _ = await read_head(connection)
    if left == most and not asked.as_json:
        click.echo(f"callsheet: no event to show; the log ends at {head}", err=True)


async def _print_events(connection: Connection, log_id: UUID, found: Iterable[StoredEvent], asked: TailOptions) -> None:
    for stored in found:
        if asked.as_json or asked.contents:
            print_json_line(await _build_output(connection, log_id, stored, contents=asked.contents))
        else:
            click.echo(format_event_line(log_id, stored))


async def _build_output(connection: Connection, log_id: UUID, stored: StoredEvent, *, contents: bool) -> dict[str, Any]:
    envelope = build_envelope(log_id, stored)
    if contents and "data" in envelope:
        envelope["data"] = await resolve_contents(connection, stored.workspace_id, envelope["data"])
    return envelope


@events.command(
    epilog=format_epilog(
        "events show 362", "events show --contents 7 8", exit_codes=f"{OPERATOR_EXIT_CODES}, 4 not in this log"
    )
)
@click.argument("positions", nargs=-1, required=True, metavar="POSITION...")
@click.option("--contents", is_flag=True, help="Show large contents too, and not only their reference.")
def show(*, positions: tuple[str, ...], contents: bool) -> None:
    """Print whole events as JSON, by position or by id (`<mark of the log>-<position>`).

    Exits with 4 when one of them is not in this log.
    """
    wanted = [_parse_position(text) for text in positions]
    with exit_on_refusal():
        shown, absent = query_database(lambda connection: _read_events(connection, wanted, contents=contents))
    for event in shown:
        print_json(event)
    for fault in absent:
        click.echo(f"callsheet: {fault}", err=True)
    sys.exit(ABSENT if absent else 0)


def _parse_position(text: str) -> tuple[str | None, int]:
    found = POSITION.fullmatch(text)
    if found is None:
        raise click.BadParameter(f"{text!r} is no position, and no id of an event", param_hint="POSITION")
    return found[1], int(found[2])


async def _read_events(
    connection: Connection, wanted: list[tuple[str | None, int]], *, contents: bool
) -> tuple[list[dict[str, Any]], list[str]]:
    head, log_id = await read_head(connection)
    shown: list[dict[str, Any]] = []
    absent: list[str] = []
    for mark, position in wanted:
        if mark not in (None, mark_of(log_id)):
            absent.append(f"{mark}-{position} is of another log: this one is {mark_of(log_id)}")
            continue
        found, _ = await read_raw_page(
            connection, after=position - 1, head=min(head, position), limit=1, only=NO_FILTER
        )
        if not found:
            absent.append(f"there is no event {position}: the log ends at {head}")
            continue
        reason = find_decoding_error(found[0])
        envelope = await _build_output(connection, log_id, found[0], contents=contents)
        shown.append(envelope if reason is None else {**envelope, "unreadable": reason})
    return shown, absent
