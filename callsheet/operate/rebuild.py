"""`callsheet projections rebuild` and `prune`: rebuild read models from the log, beside the live ones."""

# The decorators of click are typed in part only.
# pyright: reportUnknownMemberType=false

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import rich_click as click
import uvloop
from msgspec import Struct

from callsheet.clock import utc_now
from callsheet.help_text import OPERATOR_EXIT_CODES, format_epilog
from callsheet.operate.asking import load_operator_settings, query_conninfo, query_database
from callsheet.operate.printing import ATTENTION, count, escape_controls, json_option, print_json, print_table
from callsheet.operate.projections import resolve_projection_names
from callsheet.operate.rebuild_progress import show_progress
from callsheet.server.gc_tuning import tune_garbage_collector
from callsheet.settings.load import Settings
from callsheet.startup import UNUSABLE, exit_on_refusal, open_database
from callsheet.wiring.projections import PROJECTIONS
from callsheet.wiring.rebuild import create_rebuild_request
from projections.rebuild import ledger, rebuilding
from projections.rebuild.bounds import Tell
from projections.rebuild.faults import RebuildPoisoned, RebuildRefused
from projections.rebuild.pruning import Replaced, list_replaced, prune
from projections.rebuild.report import RebuildReport
from store.errors import DatabaseAway

FAILED: Final = 1
"""The connection was lost; `--resume` continues."""
INTERRUPTED: Final = 4
"""It was interrupted; `--resume` continues."""
POISONED: Final = 5
"""A fact cannot be folded: the rebuild stopped before it."""

POLITE: Final = 10
"""Niceness of a rate-limited rebuild."""

T = TypeVar("T")


class Abandoned(Struct, frozen=True, kw_only=True):
    """Output of `rebuild --abandon`."""

    abandoned: tuple[int, ...]


class Pruned(Struct, frozen=True, kw_only=True):
    """Output of `prune`."""

    pruned: tuple[Replaced, ...]


@click.command(
    name="rebuild",
    epilog=format_epilog(
        "projections rebuild runs insights",
        "projections rebuild --all --rate 20000",
        "projections rebuild --resume",
        exit_codes=f"{OPERATOR_EXIT_CODES}, 3 the rows differ, 4 it was stopped, 5 a fact cannot be folded",
    ),
)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "everything", is_flag=True, help="Rebuild every projection, reading the log once for all.")
@click.option(
    "--rate", type=click.FloatRange(1), help="Maximum number of events per second, to leave capacity for others."
)
@click.option("--resume", is_flag=True, help="Continue an unfinished rebuild.")
@click.option("--abandon", is_flag=True, help="Abandon an unfinished rebuild, and drop its tables.")
@json_option
def rebuild_command(  # the options of one command
    *, names: tuple[str, ...], everything: bool, rate: float | None, resume: bool, abandon: bool, as_json: bool
) -> None:
    """Rebuild read models from the log beside the live ones, and swap them in.

    Reads and the worker continue meanwhile. The former tables are kept until `prune`. Exits with 0 if the rows are the
    same as before, 3 if they differ, 4 if it was stopped (`--resume` continues), 5 at a fact that cannot be folded.
    """
    if resume and abandon:
        raise click.UsageError("--resume and --abandon cannot be combined")
    with exit_on_refusal():
        settings = load_operator_settings()
        with open_database(settings) as conninfo, exit_when_unfinished():
            chosen = _select_projections(conninfo, settings, names, everything=everything, unfinished=resume or abandon)
            if abandon:
                _abandon(conninfo, settings, chosen, as_json=as_json)
            else:
                _rebuild(conninfo, settings, chosen, resume=resume, rate=rate, as_json=as_json)


@click.command(name="prune", epilog=format_epilog("projections prune", exit_codes=OPERATOR_EXIT_CODES))
@json_option
def prune_command(*, as_json: bool) -> None:
    """Drop the tables that rebuilds have replaced."""
    with exit_on_refusal():
        gone = query_database(_prune_replaced)
    if as_json:
        print_json(Pruned(pruned=tuple(gone)))
    elif not gone:
        click.echo("No replaced tables are kept.")
    for replaced in () if as_json else gone:
        click.echo(f"Dropped the former tables of {', '.join(replaced.projections)} (rebuild {replaced.id}).")


async def _prune_replaced(connection: ledger.Connection) -> list[Replaced]:
    kept = await list_replaced(connection)
    await prune(connection, kept)
    return kept


@contextmanager
def exit_when_unfinished() -> Generator[None]:
    """Convert the exceptions of a rebuild into a message and an exit code."""
    try:
        yield
    except RebuildRefused as refused:
        _exit_with(UNUSABLE, str(refused))
    except RebuildPoisoned as poison:
        _exit_with(POISONED, f"{poison}; earlier facts are folded, and --resume continues there")
    except (KeyboardInterrupt, asyncio.CancelledError):
        _exit_with(INTERRUPTED, "stopped; --resume continues it, --abandon drops what was built")
    except DatabaseAway as lost:
        _exit_with(FAILED, f"{str(lost.__cause__ or lost).strip()}; --resume continues it")


def _exit_with(code: int, message: str) -> None:
    click.echo(f"callsheet: {message}", err=True)
    raise SystemExit(code) from None


def _select_projections(
    conninfo: str, settings: Settings, names: Sequence[str], *, everything: bool, unfinished: bool
) -> tuple[str, ...]:
    """Return the selected projections; without names, those of the only unfinished rebuild."""
    open_ones = _run(
        query_conninfo(conninfo, settings, lambda connection: ledger.find_unfinished(connection, tuple(PROJECTIONS)))
    )
    if names or everything:
        return resolve_projection_names(names)
    if not unfinished:
        raise click.UsageError("name the projections to rebuild, or use --all")
    if len(open_ones) != 1:
        raise RebuildRefused("name the projections: there is more than one unfinished rebuild, or none")
    return resolve_projection_names(open_ones[0].projections)


def _rebuild(
    conninfo: str, settings: Settings, names: Sequence[str], *, resume: bool, rate: float | None, as_json: bool
) -> None:
    tune_garbage_collector()
    if rate is not None:
        os.nice(POLITE)
    wanted = create_rebuild_request(names, resume=resume, rate=rate)
    with show_progress() as tell:
        report = _run(_run_rebuild(conninfo, settings, wanted, tell))
    if as_json:
        print_json(report)
    else:
        _print_report(report)
    sys.exit(0 if report.same else ATTENTION)


async def _run_rebuild(
    conninfo: str, settings: Settings, wanted: rebuilding.RebuildRequest, tell: Tell
) -> RebuildReport:
    return await rebuilding.rebuild(conninfo, wanted, settings.rebuild, tell, utc_now)


def _abandon(conninfo: str, settings: Settings, names: Sequence[str], *, as_json: bool) -> None:
    gone = _run(rebuilding.abandon_unfinished(conninfo, names, settings.rebuild))
    if as_json:
        print_json(Abandoned(abandoned=tuple(gone)))
    else:
        rebuilds = ", ".join(f"rebuild {number}" for number in gone)
        click.echo(f"Abandoned {rebuilds or 'nothing: there is no unfinished rebuild'}.")


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run the rebuild; SIGTERM stops it like Ctrl-C."""

    async def stoppable() -> T:
        task = asyncio.current_task()
        stop: Callable[[], object] = (lambda: None) if task is None else task.cancel
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
        return await work

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(stoppable())


def _print_report(report: RebuildReport) -> None:
    print_table(
        ("table", "rows before", "rows now", "hash before", "hash now", "different"),
        [
            (
                table.table,
                count(table.rows_former),
                count(table.rows_new),
                table.hash_former[:12],
                table.hash_new[:12],
                count(table.different),
            )
            for projection in report.projections
            for table in projection.tables
        ],
        numbers=("rows before", "rows now", "different"),
    )
    for projection in report.projections:
        for table in projection.tables:
            for sample in table.samples:
                columns = f" in {', '.join(sample.columns)}" if sample.columns else ""
                click.echo(escape_controls(f"  {table.table} {sample.key}: {MEANING[sample.kind]}{columns}"))
    click.echo(
        f"\nRebuild {report.id}: {count(report.events)} events in {report.seconds:.1f} s "
        f"({count(int(report.events_per_second))}/s). The tables are swapped; the former ones are kept in the schema "
        f"replaced_{report.id} until `callsheet projections prune`."
    )


MEANING: Final = {"former": "only before", "new": "only now", "changed": "differs"}
