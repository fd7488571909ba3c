"""`callsheet projections parked`: list, retry and skip what projections have parked."""

# The decorators of click are typed in part only.
# pyright: reportUnknownMemberType=false

import getpass
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final
from uuid import UUID

import rich_click as click
from msgspec import Struct
from msgspec.structs import asdict
from rich.console import Console
from rich.progress import Progress, TaskID

from callsheet.help_text import OPERATOR_EXIT_CODES, format_epilog
from callsheet.operate.asking import Connection, Interrupted, load_operator_settings, query_database
from callsheet.operate.parked_tables import print_parked_and_skipped, print_retried
from callsheet.operate.printing import (
    ABSENT,
    ATTENTION,
    INTERRUPTED,
    format_time,
    json_option,
    print_json,
    print_table,
)
from callsheet.startup import exit_on_refusal
from callsheet.wiring.projections import PROJECTIONS
from domain.ids import from_uuid, to_uuid
from projections.parked.queries import (
    HistoryRow,
    ParkedRow,
    SkippedRow,
    each_parked,
    history_rows,
    parked_rows,
    skipped_rows,
)
from projections.parked.retry import NotParked, Retried, RetriedByAnother, Retry
from projections.parked.skip import ParkedElsewhere, Skip, skip

RETRY_EXIT_CODES: Final = "3 any stays parked, 4 none was, 130 Ctrl-C"
NAME: Final = click.Choice(tuple(PROJECTIONS))


class ParkedReport(Struct, frozen=True, kw_only=True):
    """Output of `list`, and of `show`, which adds the history of the workspace."""

    parked: Sequence[ParkedRow]
    skipped: Sequence[SkippedRow]
    history: Sequence[HistoryRow] = ()


@click.group("parked")
def parked_commands() -> None:
    """List workspaces that a projection has parked at a fact that it cannot fold, and retry them.

    Nothing of such a workspace is lost: its facts are in the log. Retry it once the fault is fixed.
    """


def _parse_workspace(_context: Any, _parameter: Any, text: str | None) -> UUID | None:  # noqa: ANN401  # click's
    try:
        return None if text is None else to_uuid("ws", text)
    except ValueError as wrong:
        raise click.BadParameter(str(wrong)) from None


@parked_commands.command(
    name="list",
    epilog=format_epilog(
        "projections parked list",
        "projections parked list runs",
        exit_codes=f"{OPERATOR_EXIT_CODES}, 3 something is parked",
    ),
)
@click.argument("name", type=NAME, required=False)
@json_option
def list_command(*, name: str | None, as_json: bool) -> None:
    """List parked workspaces and skipped facts. Exits with 3 if any workspace is parked."""

    async def read(connection: Connection) -> ParkedReport:
        return ParkedReport(parked=await parked_rows(connection, name), skipped=await skipped_rows(connection, name))

    with exit_on_refusal():
        found = query_database(read)
    if as_json:
        print_json(_to_wire(found))
    else:
        print_parked_and_skipped(found.parked, found.skipped)
    sys.exit(ATTENTION if found.parked else 0)


@parked_commands.command(
    epilog=format_epilog(
        "projections parked show runs ws_…", exit_codes=f"{OPERATOR_EXIT_CODES}, 3 it is parked, 4 it never was"
    )
)
@click.argument("name", type=NAME)
@click.argument("workspace", callback=_parse_workspace)
@json_option
def show(*, name: str, workspace: UUID, as_json: bool) -> None:
    """Show one workspace in one projection: where it is parked and why, its skipped facts, and its history.

    Exits with 3 if it is parked, and with 4 if it never was.
    """

    async def read(connection: Connection) -> ParkedReport:
        return ParkedReport(
            parked=await parked_rows(connection, name, workspace),
            skipped=await skipped_rows(connection, name, workspace),
            history=await history_rows(connection, name, workspace),
        )

    with exit_on_refusal():
        found = query_database(read)
    if as_json:
        print_json(_to_wire(found))
    elif found.history or found.parked or found.skipped:
        print_parked_and_skipped(found.parked, found.skipped)
        click.echo()
        print_table(
            ("when", "what", "at position", "by", ""),
            [(format_time(row.at), row.happened, str(row.position), row.by_whom, row.detail) for row in found.history],
            numbers=("at position",),
        )
    else:
        click.echo("The workspace was never parked in this projection, and none of its facts is skipped.")
    sys.exit(ATTENTION if found.parked else 0 if found.history else ABSENT)


@parked_commands.command(
    epilog=format_epilog(
        "projections parked retry runs",
        "projections parked retry runs ws_…",
        exit_codes=f"{OPERATOR_EXIT_CODES}, {RETRY_EXIT_CODES}",
    )
)
@click.argument("name", type=NAME)
@click.argument("workspace", callback=_parse_workspace, required=False)
@click.option("--by", default=getpass.getuser, show_default="you", help="Name of the operator, for the history.")
@json_option
def retry(*, name: str, workspace: UUID | None, by: str, as_json: bool) -> None:
    """Retry one parked workspace, or all of the projection, while the others are folded as usual.

    Exits with 3 if any stays parked, and with 4 if none was. Ctrl-C stops it; the next retry continues from there.
    """
    _retry(name, workspace, by=by, as_json=as_json)


@parked_commands.command(
    name="skip",
    epilog=format_epilog(
        'projections parked skip runs ws_… --position 1059 --why "written by hand"',
        exit_codes=f"{OPERATOR_EXIT_CODES}, {RETRY_EXIT_CODES}",
    ),
)
@click.argument("name", type=NAME)
@click.argument("workspace", callback=_parse_workspace)
@click.option(
    "--position", type=click.IntRange(1), required=True, help="Position of the fact at which the workspace is parked."
)
@click.option("--why", required=True, help="Reason for the skip; it is recorded.")
@click.option("--rest-of-stream", is_flag=True, help="Also skip all later facts of the same stream.")
@click.option("--by", default=getpass.getuser, show_default="you", help="Name of the operator, for the history.")
@json_option
def skip_command(  # the options of the command
    *, name: str, workspace: UUID, position: int, why: str, rest_of_stream: bool, by: str, as_json: bool
) -> None:
    """Exclude a fact from a projection permanently, also from rebuilds, and retry its workspace.

    It must be the fact at which the workspace is parked, so that no fact is skipped by mistake. The fact stays in
    the log. The exit codes are those of `retry`.
    """
    said = Skip(
        projection=name, workspace_id=workspace, position=position, rest_of_stream=rest_of_stream, by=by, why=why
    )
    with exit_on_refusal():
        try:
            query_database(lambda connection: skip(connection, said))
        except ParkedElsewhere:
            click.echo(f"callsheet: the workspace is not parked at {position} in {name}: nothing is skipped", err=True)
            sys.exit(ABSENT)
    _retry(name, workspace, by=by, as_json=as_json)


def _retry(name: str, workspace: UUID | None, *, by: str, as_json: bool) -> None:
    with exit_on_refusal():
        try:
            with Progress(console=Console(stderr=True), transient=True, disable=as_json) as progress:
                found = query_database(lambda connection: _retry_each(connection, name, workspace, by, progress))
        except Interrupted:
            click.echo("callsheet: interrupted; the next retry continues from there", err=True)
            sys.exit(INTERRUPTED)
        except RetriedByAnother:
            click.echo("callsheet: another process is retrying the same workspace", err=True)
            sys.exit(ATTENTION)
    if as_json:
        print_json([_format_row(row) for row in found])
    elif found:
        print_retried(found)
    else:
        click.echo("Nothing is parked there: nothing to retry.")
    sys.exit(ATTENTION if any(row.error for row in found) else 0 if found else ABSENT)


async def _retry_each(
    connection: Connection, name: str, workspace: UUID | None, by: str, progress: Progress
) -> list[Retried]:
    """Retry one workspace, or each that is parked, one after another."""
    found: list[Retried] = []
    settings = load_operator_settings().projection
    task = progress.add_task("")  # one line, however many they are
    async for each, position in each_parked(connection, name, workspace):
        told = _create_progress_reporter(progress, task, each, position)
        retrying = Retry(connection, PROJECTIONS[name](), each, settings, told)
        try:
            found.append(await retrying.run(by))
        except NotParked:
            continue  # another process was quicker
    return found


def _create_progress_reporter(
    progress: Progress, task: TaskID, workspace: UUID, parked_from: int
) -> Callable[[int, int], None]:
    named = from_uuid("ws", workspace)

    def report_progress(position: int, checkpoint: int) -> None:
        begun = parked_from - 1
        done, total = position - begun, max(1, checkpoint - begun)
        progress.update(task, description=named, completed=done, total=total)

    return report_progress


def _to_wire(found: ParkedReport) -> dict[str, list[dict[str, Any]]]:
    return {
        "parked": [_format_row(row) for row in found.parked],
        "skipped": [_format_row(row) for row in found.skipped],
        "history": [_format_row(row) for row in found.history],
    }


def _format_row(row: ParkedRow | SkippedRow | HistoryRow | Retried) -> dict[str, Any]:
    """Return a row with the public id of its workspace; the stream id stays a UUID, since its kind is unknown here."""
    return {**asdict(row), "workspace_id": from_uuid("ws", row.workspace_id)}
