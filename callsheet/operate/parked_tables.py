"""Tables of parked workspaces, skipped facts and the outcomes of retries."""

# The decorators of click are typed in part only.
# pyright: reportUnknownMemberType=false

from collections.abc import Sequence

import rich_click as click

from callsheet.operate.printing import count, format_time, print_table
from domain.ids import from_uuid
from projections.parked.queries import MOST, ParkedRow, SkippedRow
from projections.parked.retry import Retried


def print_retried(found: Sequence[Retried]) -> None:
    """Print the outcomes of retries."""
    rows = [
        (
            from_uuid("ws", row.workspace_id),
            count(row.folded),
            "unparked" if row.error is None else f"parked at {row.position}: {row.error}",
        )
        for row in found
    ]
    print_table(("workspace", "folded", "now"), rows, numbers=("folded",))


def print_parked_and_skipped(parked: Sequence[ParkedRow], skipped: Sequence[SkippedRow]) -> None:
    """Print parked workspaces, and skipped facts if there are any."""
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
                row.projection,
                from_uuid("ws", row.workspace_id),
                str(row.from_position),
                row.topic,
                format_time(row.parked_at),
                count(row.behind),
                row.error,
            )
            for row in parked_ones
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
                row.projection,
                from_uuid("ws", row.workspace_id),
                str(row.position),
                row.topic,
                "the rest too" if row.rest_of_stream else "",
                row.skipped_by,
                format_time(row.skipped_at),
                row.why,
            )
            for row in skipped_ones
        ],
        numbers=("skipped",),
    )
