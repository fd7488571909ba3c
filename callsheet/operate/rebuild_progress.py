"""The progress of a rebuild, on standard error, so that standard output has only the result."""

from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from projections.rebuild.bounds import Progress as Told
from projections.rebuild.bounds import Tell


@contextmanager
def show_progress() -> Generator[Tell]:
    """Draw a progress bar until the end of the block, if the output is a terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[events]} events"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("folding", total=None, events="0")

        def tell(told: Told) -> None:
            progress.update(
                task,
                description=told.phase.value,
                completed=told.position,
                total=max(told.target, told.position),
                events=f"{told.events:,}",
            )

        yield tell
