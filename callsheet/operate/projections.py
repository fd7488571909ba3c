"""`callsheet projections`: which there are, how far each has come, and who moves it."""

# The decorators of click are typed in part only.
# pyright: reportUnknownMemberType=false

import sys
from collections.abc import Sequence
from typing import Final

import rich_click as click
from msgspec import Struct

from callsheet.help_text import OF_OPERATORS, examples
from callsheet.operate.asking import ask
from callsheet.operate.printing import ATTENTION, count, duration, json_option, moment, print_json, print_table
from callsheet.startup import refusals
from callsheet.wiring.projections import PROJECTIONS
from domain.fact import get_topic
from projections.runtime.status import ProjectionStatus, ProjectionStatuses, read_projection_statuses

LAG_SECONDS_MAX: Final = 10.0
"""How far behind a projection may be before `status` says that somebody has to look."""


class Listed(Struct, frozen=True, kw_only=True):
    """One projection of this version, or of another one that has left its checkpoint."""

    name: str
    topics: tuple[str, ...]
    tables: tuple[str, ...]
    known: bool
    position: int


class Status(Struct, frozen=True, kw_only=True):
    """Where one projection stands, and what somebody has to look at, if anything."""

    standing: ProjectionStatus
    attention: tuple[str, ...]


class Statuses(Struct, frozen=True, kw_only=True):
    """The answer of `status`."""

    head: int
    healthy: bool
    projections: tuple[Status, ...]


@click.group()
def projections() -> None:
    """Watch over the read models, which are folded from the log and can be built again from it."""


@projections.command(name="list", epilog=examples("projections list", exit_codes=OF_OPERATORS))
@json_option
def list_command(*, as_json: bool) -> None:
    """List the projections: what each folds, and how far it has come."""
    with refusals():
        found = listed(ask(read_projection_statuses))
    if as_json:
        print_json(found)
        return
    rows = [
        (one.name if one.known else f"{one.name} (of another version)", count(one.position), ", ".join(one.tables))
        for one in found
    ]
    print_table(("projection", "checkpoint", "tables"), rows, numbers=("checkpoint",))


@projections.command(
    epilog=examples(
        "projections status",
        "projections status runs tasks --lag-seconds-max 60 || alarm",
        exit_codes=f"{OF_OPERATORS}, 3 somebody has to look",
    )
)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--lag-seconds-max",
    type=click.FloatRange(0),
    default=LAG_SECONDS_MAX,
    show_default=True,
    help="How far behind a projection may be before somebody has to look.",
)
@json_option
def status(*, names: tuple[str, ...], lag_seconds_max: float, as_json: bool) -> None:
    """Say how far each projection (or those named) is behind the log, who moves it, and what is wrong.

    Exits with 3 when somebody has to look: nobody follows, the lag is over its bound, or a workspace is parked.
    """
    chosen = named(names)
    with refusals():
        found = statuses(ask(read_projection_statuses), chosen, lag_seconds_max=lag_seconds_max)
    if as_json:
        print_json(found)
    else:
        _print(found)
    sys.exit(0 if found.healthy else ATTENTION)


def named(names: Sequence[str]) -> tuple[str, ...]:
    """Give the projections that were named, or all. Raises what click says of a name that is none."""
    for name in names:
        if name not in PROJECTIONS:
            raise click.BadParameter(f"{name!r} is none of {', '.join(PROJECTIONS)}", param_hint="NAME")
    return tuple(dict.fromkeys(names)) or tuple(PROJECTIONS)


def listed(found: ProjectionStatuses) -> tuple[Listed, ...]:
    """List the projections of this version in their order, and then what is left of others."""
    made = {name: make() for name, make in PROJECTIONS.items()}
    ours = tuple(
        Listed(
            name=name,
            topics=tuple(sorted(get_topic(kind) for kind in one.wants)),
            tables=one.tables,
            known=True,
            position=found.get(name).position,
        )
        for name, one in made.items()
    )
    others = (one for name, one in found.projections.items() if name not in made)
    return (
        *ours,
        *(Listed(name=one.projection, topics=(), tables=(), known=False, position=one.position) for one in others),
    )


def statuses(found: ProjectionStatuses, names: Sequence[str], *, lag_seconds_max: float) -> Statuses:
    """Judge each projection."""
    judged = tuple(
        Status(standing=one, attention=tuple(_faults(one, lag_seconds_max))) for one in map(found.get, names)
    )
    return Statuses(head=found.head, healthy=not any(one.attention for one in judged), projections=judged)


def _faults(one: ProjectionStatus, lag_seconds_max: float) -> Sequence[str]:
    nobody = ("nobody follows",) if one.followed_by is None else ()
    late = (f"over {duration(lag_seconds_max)} behind",) if one.lag_seconds > lag_seconds_max else ()
    parked = (f"{one.parked} parked",) if one.parked else ()
    return (*nobody, *late, *parked)


def _print(found: Statuses) -> None:
    print_table(
        ("projection", "checkpoint", "lag", "behind", "moved", "generation", "worker", "standing by", "state"),
        [_row(one) for one in found.projections],
        numbers=("checkpoint", "lag", "behind", "generation", "standing by"),
    )
    click.echo(f"\nThe log ends at position {count(found.head)}.")


def _row(one: Status) -> tuple[str, ...]:
    standing = one.standing
    return (
        standing.projection,
        count(standing.position),
        count(standing.lag_events),
        duration(standing.lag_seconds),
        moment(standing.moved_at),
        str(standing.generation),
        "-" if standing.followed_by is None else standing.followed_by.process,
        str(standing.standing_by),
        "; ".join(one.attention) or "ok",
    )
