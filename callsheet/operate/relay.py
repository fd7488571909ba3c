"""`callsheet relay`: the lag of the relay to NATS, and its process."""

# The decorators of click are typed in part only.
# pyright: reportUnknownMemberType=false

import sys
from typing import Final

import rich_click as click
from msgspec import Struct

from bus.nats.relay_status import RelayStatus, read_relay_status
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

LAG_SECONDS_MAX: Final = 10.0
"""Lag from which `status` reports a problem."""


class RelayReport(Struct, frozen=True, kw_only=True):
    """Output of `status`: the status of the relay, and the problem, if any."""

    healthy: bool
    standing: RelayStatus
    attention: tuple[str, ...]


@click.group()
def relay() -> None:
    """Inspect the relay, which publishes facts to NATS."""


@relay.command(
    epilog=format_epilog("relay status || alarm", exit_codes=f"{OPERATOR_EXIT_CODES}, 3 an operator has to look")
)
@click.option(
    "--lag-seconds-max",
    type=click.FloatRange(0),
    default=LAG_SECONDS_MAX,
    show_default=True,
    help="Lag in seconds from which the relay counts as a problem.",
)
@json_option
def status(*, lag_seconds_max: float, as_json: bool) -> None:
    """Show the lag of the relay and the process that runs it.

    Exits with 3 if there is a problem: no process relays, or too much lag.
    """
    with exit_on_refusal():
        found = evaluate_status(query_database(read_relay_status), lag_seconds_max=lag_seconds_max)
    if as_json:
        print_json(found)
    else:
        _print_report(found)
    sys.exit(0 if found.healthy else ATTENTION)


def evaluate_status(standing: RelayStatus, *, lag_seconds_max: float) -> RelayReport:
    """Return the report of the relay."""
    attention = tuple(_list_problems(standing, lag_seconds_max))
    return RelayReport(healthy=not attention, standing=standing, attention=attention)


def _list_problems(standing: RelayStatus, lag_seconds_max: float) -> list[str]:
    said: list[str] = []
    if standing.holder is None:
        said.append("no process relays" if standing.begun else "nothing was ever relayed, and no process does")
    if standing.lag_seconds > lag_seconds_max:
        said.append(f"over {lag_seconds_max} s behind")
    return said


def _print_report(found: RelayReport) -> None:
    standing = found.standing
    print_table(
        ("cursor", "head", "lag (events)", "lag", "moved", "relayed by", "standing by"),
        [
            (
                count(standing.cursor),
                count(standing.head),
                count(standing.lag_events),
                format_duration(standing.lag_seconds),
                format_time(standing.moved_at),
                "none" if standing.holder is None else standing.holder.process,
                count(standing.standing_by),
            )
        ],
        numbers=("cursor", "head", "lag (events)", "lag", "standing by"),
    )
    for problem in found.attention:
        click.echo(problem)
