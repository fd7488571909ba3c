"""Print the counts: as a table, or as one JSON object that report.schema.json describes."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

COLUMNS = {
    "started": "started",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
    "model_calls": "calls",
    "input_tokens": "tokens in",
    "output_tokens": "tokens out",
    "cost_usd": "cost USD",
}


def print_report(report: dict[str, Any], *, as_json: bool) -> None:
    """Print a report to stdout."""
    print(json.dumps(report) if as_json else "\n".join(table(report)), flush=True)


def table(report: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of the table."""
    rows = [["day", "workflow", *COLUMNS.values()]]
    for row in report["workflows"]:
        workflow = row["name"] or row["workflow"] or "(not known yet)"
        rows.append([row["day"], workflow, *(str(row[column]) for column in COLUMNS)])
    yield from align_columns(rows)
    for log in report["logs"]:
        counted = f"{log['events']} events from position {log['first']} to {log['last']}"
        yield f"Log {log['log']}: {counted}, each counted once."
    gaps: list[dict[str, Any]] = report["gaps"] or []
    for gap in gaps:
        yield f"Positions {gap['from']} to {gap['through']} of log {gap['log']} are missing."
    if gaps:
        yield f"Backfill from {gaps[0]['from']}; see docs/subscribing.md."
    if report["removed"]:
        yield f"{report['removed']} events were removed from the log by a restore, and are not counted."
    if report["unreadable"]:
        yield f"{report['unreadable']} events could not be read, and are not counted."


def align_columns(rows: list[list[str]]) -> Iterable[str]:
    """Yield rows as lines: text columns left-aligned, numbers right-aligned."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [row[0].ljust(widths[0]), row[1].ljust(widths[1])]
        yield "  ".join(cells + [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)])
