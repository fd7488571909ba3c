"""Console output of the demo: a timeline of events, the outputs and the timings."""

import json
from collections.abc import Mapping
from typing import Any, Final

from rich import markup
from rich.console import Console
from rich.panel import Panel
from rich.table import Column, Table

from callsheet.operate.printing import escape_controls

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


def escape(text: str) -> str:
    """Return text as it is shown: what a model wrote is neither markup nor a command to the terminal."""
    return markup.escape(escape_controls(text))


class DemoConsole:
    """Prints the demo to a console."""

    def __init__(self, console: Console) -> None:
        """Create it for a console."""
        self._console = console

    def print_text(self, text: str) -> None:
        """Print text without wrapping: some lines are to be copied into a shell."""
        self._console.print(text, soft_wrap=True)

    def print_heading(self, title: str, source: str) -> None:
        """Print the heading of an example."""
        self._console.print()
        self._console.rule(f"[bold]{escape(title)}[/] [dim]{escape(source)}[/]", align="left")

    def print_event(self, event: Mapping[str, Any], since_ms: float) -> None:
        """Print one event of the timeline."""
        fact: Mapping[str, Any] = event["data"]
        topic = str(event["type"])
        row = Table.grid(
            Column(width=9, justify="right"),
            Column(width=1),
            Column(min_width=14, no_wrap=True),
            Column(min_width=10, overflow="fold"),
            Column(overflow="fold"),  # a long detail continues on the next line, indented
            padding=(0, 1),
        )
        node = f"[bold]{escape(str(fact.get('node', '')))}[/]"
        detail = f"[dim]{_describe_event(topic, fact)}[/]"
        row.add_row(f"{since_ms:.0f} ms", MARKS.get(topic, ""), topic, node, detail)
        self._console.print(row)

    def print_outputs(self, outputs: Mapping[str, Any]) -> None:
        """Print the outputs of the run."""
        for node, output in outputs.items():
            text = output if isinstance(output, str) else json.dumps(output, indent=2, ensure_ascii=False)
            shown = text if len(text) <= OUTPUT_CHARACTERS else f"{text[:OUTPUT_CHARACTERS]} …"
            self._console.print(Panel(escape(shown), title=f"output of {escape(node)}", border_style="green"))

    def timings(self, rows: Mapping[str, str]) -> None:
        """Print the timings."""
        table = Table(title="timings", show_header=False)
        for name, value in rows.items():
            table.add_row(name, value)
        self._console.print(table)


def _describe_event(topic: str, fact: Mapping[str, Any]) -> str:
    match topic:
        case "step.completed":
            usage = fact.get("usage")
            return escape(_describe_usage(usage)) if usage else ""
        case "step.skipped":
            return escape(str(fact["reason"]))
        case "step.failed" | "run.failed":
            return escape(str(fact["error"]["message"]))
        case "step.waiting":
            return escape(_describe_wait(fact))
        case "step.items-settled":
            return f"{len(fact['items'])} of its runs have ended"
        case "run.signalled":
            return f"{escape(str(fact['name']))} by {escape(str(fact['signalled_by']))}"
        case "step.decided":
            return f"{escape(str(fact['outcome']))} by {escape(str(fact['decided_by']))}"
        case _:
            return ""


def _describe_wait(fact: Mapping[str, Any]) -> str:
    match fact["waiting_for"]:
        case "human":
            return f"for {', '.join([*fact.get('assignees', []), *fact.get('roles', [])])}"
        case "timer":
            return f"until {fact['until']}"
        case "signal":
            return f"for the signal {fact['signal']}"
        case _:
            return "for one run" if fact["children"] == 1 else f"for {fact['children']} runs"


def _describe_usage(usage: Mapping[str, Any]) -> str:
    tokens = f"{usage['input_tokens']} + {usage['output_tokens']} tokens"
    took = f", {usage['latency_ms']:,.0f} ms" if usage["latency_ms"] else ""
    return f"{usage['model']}, {tokens}{took}"
