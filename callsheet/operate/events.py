"""`callsheet events`: list stored events and follow new ones."""

# The decorators of click are typed in part only.
# pyright: reportUnknownMemberType=false

import re
import sys
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any, Final, TypeVar
from uuid import UUID

import rich_click as click

from bus.listener import APPLICATION_NAME
from callsheet.help_text import OPERATOR_EXIT_CODES, format_epilog
from callsheet.operate.asking import Interrupted, query_database
from callsheet.operate.event_lines import find_decoding_error, parse_stream_id
from callsheet.operate.printing import ABSENT, ATTENTION, INTERRUPTED, json_option, print_json
from callsheet.operate.tail import LAST_EVENTS, PositionGone, TailOptions, build_output, tail_log
from callsheet.startup import exit_on_refusal
from domain.ids import Prefix, to_uuid
from store.log.codec import TOPICS
from store.log.epochs import read_state
from store.log.queries import NO_FILTER, LogFilter
from store.log.raw_reads import Connection, read_raw_page

POSITION: Final = re.compile(r"(?:([0-9a-f]{12})-)?([0-9]{1,18})")

T = TypeVar("T")


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


def _parse_after(_context: Any, _parameter: Any, text: str | None) -> tuple[str | None, int] | None:  # noqa: ANN401  # click's
    return None if text is None else _parse_position(text)


def _parse_position(text: str) -> tuple[str | None, int]:
    found = POSITION.fullmatch(text)
    if found is None:
        raise click.BadParameter(f"{text!r} is neither a position nor an event id", param_hint="POSITION")
    return found[1], int(found[2])


@events.command(
    epilog=format_epilog(
        "events tail -n 50",
        "events tail --follow --topic 'run.*' --project prj_…",
        "events tail --from 1 -n 100 --json",
        exit_codes=f"{OPERATOR_EXIT_CODES}, 3 positions are missing, 4 --after is not in this log, "
        "130 Ctrl-C (0 with --follow)",
    )
)
@click.option("--workspace", callback=_create_id_parser("ws"), help="Only of this workspace (ws_…).")
@click.option("--project", callback=_create_id_parser("prj"), help="Only of this project (prj_…).")
@click.option("--stream", callback=_parse_stream, help="Only of one thing (run_…, wf_…, ast_…, prj_…).")
@click.option(
    "--topic", "topics", multiple=True, callback=_match_topics, help="Only of this topic, as `run.failed` or `run.*`."
)
@click.option(
    "--after",
    callback=_parse_after,
    help="Begin after this position or id of an event (`<log tag>-<position>`); refused if a restore has removed it.",
)
@click.option("--from", "begin", type=click.IntRange(1), help="Start at this position; read to the end of the log.")
@click.option(
    "-n",
    "--last",
    type=click.IntRange(0, 10_000),
    help=f"How many of the last to begin with, {LAST_EVENTS} unless said. With --from: how many from there on, as "
    "--limit.",
)
@click.option("--limit", type=click.IntRange(1), help="Stop after this many events, also with --follow.")
@click.option("-f", "--follow", is_flag=True, help="Follow new events until Ctrl-C (exit code 0) or --limit.")
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
            # Appenders look for this application name, and send NOTIFY on commit while it is connected.
            has_gaps = query_database(lambda connection: tail_log(connection, asked), name=APPLICATION_NAME)
        except PositionGone as gone:
            click.echo(f"callsheet: {gone}", err=True)
            sys.exit(ABSENT)
        except Interrupted:
            sys.exit(0 if asked.follow else INTERRUPTED)  # Ctrl-C is how following ends
    sys.exit(ATTENTION if has_gaps else 0)


@events.command(
    epilog=format_epilog(
        "events show 362", "events show --contents 7 8", exit_codes=f"{OPERATOR_EXIT_CODES}, 4 not in this log"
    )
)
@click.argument("positions", nargs=-1, required=True, metavar="POSITION...")
@click.option("--contents", is_flag=True, help="Show large contents too, and not only their reference.")
def show(*, positions: tuple[str, ...], contents: bool) -> None:
    """Print whole events as JSON, by position or by id (`<log tag>-<position>`).

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


async def _read_events(
    connection: Connection, wanted: list[tuple[str | None, int]], *, contents: bool
) -> tuple[list[dict[str, Any]], list[str]]:
    state = await read_state(connection)
    head, identity = state.head, state.identity
    shown: list[dict[str, Any]] = []
    absent: list[str] = []
    for mark, position in wanted:
        if mark is not None and f"{mark}-{position}" != identity.format_event_id(position):
            absent.append(f"{mark}-{position} is of another log, or a restore removed it: this log is {identity.tag}")
            continue
        found, _ = await read_raw_page(
            connection, after=position - 1, head=min(head, position), limit=1, only=NO_FILTER
        )
        if not found:
            absent.append(f"there is no event {position}: the log ends at {head}")
            continue
        reason = find_decoding_error(found[0])
        envelope = await build_output(connection, identity, found[0], contents=contents)
        shown.append(envelope if reason is None else {**envelope, "unreadable": reason})
    return shown, absent
