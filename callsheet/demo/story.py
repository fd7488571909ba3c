"""What the demo shows: a timeline of events as they are tailed, the outputs, the timings, and where to go next."""

import json
from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Column, Table

MARKS: Final[Mapping[str, str]] = {
    "run.started": "[bold cyan]▶[/]",
    "step.started": "[cyan]·[/]",
    "step.completed": "[green]✓[/]",
    "step.skipped": "[dim]↷[/]",
    "step.failed": "[red]✗[/]",
    "step.waiting": "[yellow]…[/]",
    "step.items-settled": "[cyan]✓[/]",
    "step.decided": "[yellow]☑[/]",
    "run.completed": "[bold green]■[/]",
    "run.failed": "[bold red]■[/]",
}
OUTPUT_CHARACTERS: Final = 700


class Story:
    """Tells the demo on a console."""

    def __init__(self, console: Console) -> None:
        """Begin."""
        self._console = console

    def say(self, text: str) -> None:
        """Say one thing, on lines that are never broken: some of them are to be copied into a shell."""
        self._console.print(text, soft_wrap=True)

    def chapter(self, title: str, source: str) -> None:
        """Begin with an example."""
        self._console.print()
        self._console.rule(f"[bold]{escape(title)}[/] [dim]{escape(source)}[/]", align="left")

    def event(self, event: Mapping[str, Any], since_ms: float) -> None:
        """Show one event of the timeline."""
        fact: Mapping[str, Any] = event["data"]
        topic = str(event["topic"])
        row = Table.grid(
            Column(width=9, justify="right"),
            Column(width=1),
            Column(min_width=14, no_wrap=True),
            Column(min_width=10, overflow="fold"),
            Column(overflow="fold"),  # a long detail goes on below itself
            padding=(0, 1),
        )
        node = f"[bold]{escape(str(fact.get('node', '')))}[/]"
        detail = f"[dim]{_detail(topic, fact)}[/]"
        row.add_row(f"{since_ms:.0f} ms", MARKS.get(topic, ""), topic, node, detail)
        self._console.print(row)

    def outputs(self, outputs: Mapping[str, Any]) -> None:
        """Show what the run gave."""
        for node, output in outputs.items():
            text = output if isinstance(output, str) else json.dumps(output, indent=2, ensure_ascii=False)
            shown = text if len(text) <= OUTPUT_CHARACTERS else f"{text[:OUTPUT_CHARACTERS]} …"
            self._console.print(Panel(escape(shown), title=f"output of {escape(node)}", border_style="green"))

    def timings(self, rows: Mapping[str, str]) -> None:
        """Show how long things took."""
        table = Table(title="timings", show_header=False)
        for name, value in rows.items():
            table.add_row(name, value)
        self._console.print(table)


def _detail(topic: str, fact: Mapping[str, Any]) -> str:
    match topic:
        case "step.completed":
            usage = fact.get("usage")
            return escape(_usage(usage)) if usage else ""
        case "step.skipped":
            return escape(str(fact["reason"]))
        case "step.failed" | "run.failed":
            return escape(str(fact["error"]["message"]))
        case "step.waiting":
            return escape(_waiting(fact))
        case "step.items-settled":
            return f"{len(fact['items'])} of its runs have ended"
        case "step.decided":
            return f"{escape(str(fact['outcome']))} by {escape(str(fact['decided_by']))}"
        case _:
            return ""


def _waiting(fact: Mapping[str, Any]) -> str:
    match fact["waiting_for"]:
        case "human":
            return f"for {', '.join([*fact.get('assignees', []), *fact.get('roles', [])])}"
        case "timer":
            return f"until {fact['until']}"
        case _:
            return "for one run" if fact["children"] == 1 else f"for {fact['children']} runs"


def _usage(usage: Mapping[str, Any]) -> str:
    tokens = f"{usage['input_tokens']} + {usage['output_tokens']} tokens"
    took = f", {usage['latency_ms']:,.0f} ms" if usage["latency_ms"] else ""
    return f"{usage['model']}, {tokens}{took}"
