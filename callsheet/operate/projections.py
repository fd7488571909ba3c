"""`callsheet projections`: list projections, their lag, and their workers."""

# The decorators of click are typed in part only.
# pyright: reportUnknownMemberType=false

import sys
from collections.abc import Sequence
from typing import Final

import rich_click as click
from msgspec import Struct

from callsheet.help_text import OPERATOR_EXIT_CODES, format_epilog
from callsheet.operate.asking import query_database
from callsheet.operate.printing import (
    ATTENTION,
    count,
    format_duration,
    format_time,
    json_option,
    print_json,
    print_table,
)
from callsheet.startup import exit_on_refusal
from callsheet.wiring.projections import PROJECTIONS
from domain.fact import get_topic
from projections.runtime.status import ProjectionStatus, ProjectionStatuses, read_projection_statuses

LAG_SECONDS_MAX: Final = 10.0
"""Lag from which `status` reports a problem."""


class ListedProjection(Struct, frozen=True, kw_only=True):
    """One projection of this version, or a checkpoint of another version."""

    name: str
    topics: tuple[str, ...]
    tables: tuple[str, ...]
    known: bool
    position: int


class ProjectionReport(Struct, frozen=True, kw_only=True):
    """Status of one projection, and the reason why an operator should look at it, if any."""

    standing: ProjectionStatus
    attention: tuple[str, ...]


class ProjectionsReport(Struct, frozen=True, kw_only=True):
    """Output of `status`."""

    head: int
    healthy: bool
    projections: tuple[ProjectionReport, ...]


@click.group()
def projections() -> None:
    """Inspect and repair the read models, which are folded from the log and can be rebuilt from it."""


@projections.command(name="list", epilog=format_epilog("projections list", exit_codes=OPERATOR_EXIT_CODES))
@json_option
def list_command(*, as_json: bool) -> None:
    """List the projections: the facts that each folds, and its position."""
    with exit_on_refusal():
        found = list_projections(query_database(read_projection_statuses))
    if as_json:
        print_json(found)
        return
    rows = [
        (item.name if item.known else f"{item.name} (of another version)", count(item.position), ", ".join(item.tables))
        for item in found
    ]
    print_table(("projection", "checkpoint", "tables"), rows, numbers=("checkpoint",))


@projections.command(
    epilog=format_epilog(
        "projections status",
        "projections status runs tasks --lag-seconds-max 60 || alarm",
        exit_codes=f"{OPERATOR_EXIT_CODES}, 3 an operator has to look",
    )
)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--lag-seconds-max",
    type=click.FloatRange(0),
    default=LAG_SECONDS_MAX,
    show_default=True,
    help="Lag in seconds from which a projection counts as a problem.",
)
@json_option
def status(*, names: tuple[str, ...], lag_seconds_max: float, as_json: bool) -> None:
    """Show the lag of each projection (or those named), the process that runs it, and problems.

    Exits with 3 if there is a problem: no worker, too much lag, or a parked workspace.
    """
    chosen = resolve_projection_names(names)
    with exit_on_refusal():
        found = evaluate_statuses(query_database(read_projection_statuses), chosen, lag_seconds_max=lag_seconds_max)
    if as_json:
        print_json(found)
    else:
        _print_report(found)
    sys.exit(0 if found.healthy else ATTENTION)


def resolve_projection_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the named projections, or all. Raises click.BadParameter for an unknown name."""
    for name in names:
        if name not in PROJECTIONS:
            raise click.BadParameter(
                f"unknown projection {name!r}. Supported: {', '.join(PROJECTIONS)}", param_hint="NAME"
            )
    return tuple(dict.fromkeys(names)) or tuple(PROJECTIONS)


def list_projections(found: ProjectionStatuses) -> tuple[ListedProjection, ...]:
    """List the projections of this version in their order, then the checkpoints of other versions."""
    made = {name: make() for name, make in PROJECTIONS.items()}
    ours = tuple(
        ListedProjection(
            name=name,
            topics=tuple(sorted(get_topic(kind) for kind in item.wants)),
            tables=item.tables,
            known=True,
            position=found.get(name).position,
        )
        for name, item in made.items()
    )
    others = (item for name, item in found.projections.items() if name not in made)
    return (
        *ours,
        *(
            ListedProjection(name=item.projection, topics=(), tables=(), known=False, position=item.position)
            for item in others
        ),
    )


def evaluate_statuses(found: ProjectionStatuses, names: Sequence[str], *, lag_seconds_max: float) -> ProjectionsReport:
    """Return the report of each projection."""
    judged = tuple(
        ProjectionReport(standing=item, attention=tuple(_list_problems(item, lag_seconds_max)))
        for item in map(found.get, names)
    )
    return ProjectionsReport(head=found.head, healthy=not any(item.attention for item in judged), projections=judged)


def _list_problems(item: ProjectionStatus, lag_seconds_max: float) -> Sequence[str]:
    nobody = ("nobody follows",) if item.followed_by is None else ()
    late = (f"over {format_duration(lag_seconds_max)} behind",) if item.lag_seconds > lag_seconds_max else ()
    parked = (f"{item.parked} parked",) if item.parked else ()
    return (*nobody, *late, *parked)


def _print_report(found: ProjectionsReport) -> None:
    print_table(
        ("projection", "checkpoint", "lag", "behind", "moved", "generation", "worker", "standing by", "state"),
        [_format_row(item) for item in found.projections],
        numbers=("checkpoint", "lag", "behind", "generation", "standing by"),
    )
    click.echo(f"\nThe log ends at position {count(found.head)}.")


def _format_row(item: ProjectionReport) -> tuple[str, ...]:
    standing = item.standing
    return (
        standing.projection,
        count(standing.position),
        count(standing.lag_events),
        format_duration(standing.lag_seconds),
        format_time(standing.moved_at),
        str(standing.generation),
        "-" if standing.followed_by is None else standing.followed_by.process,
        str(standing.standing_by),
        "; ".join(item.attention) or "ok",
    )
