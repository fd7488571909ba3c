"""What projections leave out, and what came of retries, as tables for people."""

# The decorators of click are typed in part only.
# pyright: reportUnknownMemberType=false

from collections.abc import Sequence

import rich_click as click

from callsheet.operate.printing import count, moment, print_table
from domain.ids import from_uuid
from projections.parked.queries import MOST, ParkedRow, SkippedRow
from projections.parked.retry import Retried


def print_retried(found: Sequence[Retried]) -> None:
    """Print what came of retries."""
    rows = [
        (
            from_uuid("ws", one.workspace_id),
            count(one.folded),
            "goes on" if one.error is None else f"parked at {one.position}: {one.error}",
        )
        for one in found
    ]
    print_table(("workspace", "folded", "now"), rows, numbers=("folded",))


def print_left_out(parked: Sequence[ParkedRow], skipped: Sequence[SkippedRow]) -> None:
    """Print what is parked, and what is skipped if anything is."""
    if parked:
        _print_parked(parked)
    else:
        click.echo("Nothing is parked.")
    if skipped:
        click.echo()
        _print_skipped(skipped)


def _print_parked(parked_ones: Sequence[ParkedRow]) -> None:
    print_table(
        ("projection", "workspace", "parked from", "topic", "since", "behind", "because"),
        [
            (
                one.projection,
                from_uuid("ws", one.workspace_id),
                str(one.from_position),
                one.topic,
                moment(one.parked_at),
                count(one.behind),
                one.error,
            )
            for one in parked_ones
        ],
        numbers=("parked from", "behind"),
    )
    if len(parked_ones) == MOST:
        click.echo(f"\nThese are the first {count(MOST)}; `callsheet projections status` counts them all.")


def _print_skipped(skipped_ones: Sequence[SkippedRow]) -> None:
    print_table(
        ("projection", "workspace", "skipped", "topic", "stream", "by", "when", "why"),
        [
            (
                one.projection,
                from_uuid("ws", one.workspace_id),
                str(one.position),
                one.topic,
                "the rest too" if one.rest_of_stream else "",
                one.skipped_by,
                moment(one.skipped_at),
                one.why,
            )
            for one in skipped_ones
        ],
        numbers=("skipped",),
    )
