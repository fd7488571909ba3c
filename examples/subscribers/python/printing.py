"""How the counts are printed: a table for people, or one JSON object in the shape of report.schema.json."""

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


def printed(report: dict[str, Any], *, as_json: bool) -> None:
    """Print the counts."""
    print(json.dumps(report) if as_json else "\n".join(table(report)), flush=True)


def table(report: dict[str, Any]) -> Iterator[str]:
    """Write the counts for people."""
    rows = [["day", "workflow", *COLUMNS.values()]]
    for one in report["workflows"]:
        workflow = one["name"] or one["workflow"] or "(not known yet)"
        rows.append([one["day"], workflow, *(str(one[column]) for column in COLUMNS)])
    yield from aligned(rows)
    for log in report["logs"]:
        counted = f"{log['events']} events from position {log['first']} to {log['last']}"
        yield f"Log {log['log']}: {counted}, each counted once."
    gaps: list[dict[str, Any]] = report["gaps"] or []
    for gap in gaps:
        yield f"Positions {gap['from']} to {gap['through']} of log {gap['log']} never came."
    if gaps:
        yield f"Backfill from {gaps[0]['from']}; docs/subscribing.md says how."
    if report["unreadable"]:
        yield f"{report['unreadable']} events could not be read, and are not counted."


def aligned(rows: list[list[str]]) -> Iterable[str]:
    """Align columns: words to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [row[0].ljust(widths[0]), row[1].ljust(widths[1])]
        yield "  ".join(cells + [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)])
