"""Golden histories of runs: the facts of each, and the results of the schedule and the verbs after every fact."""

from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from commands.runs.lifecycle import select_kept_by_fork, select_kept_by_retry
from commands.runs.retained import find_nodes_with_finished_items, find_nodes_with_output
from domain.graphs.compiled import compile_graph
from domain.graphs.graph import Graph
from domain.runs.facts import RunFact
from domain.runs.run import Run, evolve
from engine.turns.schedule import find_due_after, find_due_at_start, find_due_on_resume, get_due_time, is_all_settled
from store.log.codec import PLAIN_JSON, decode_fact

HISTORIES: Final = Path(__file__).parents[3] / "golden" / "runs"


class Due(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Steps due in a run after one of its facts: after a takeover, after the last settled step, and by the clock."""

    start: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    next_start: tuple[str, ...] = ()
    next_skip: tuple[str, ...] = ()
    timers: dict[str, datetime] = {}
    all_settled: bool = False


class Kept(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Steps that a retry of a run keeps, and those that a fork from each of its nodes reuses.

    `items_by_retry` are the steps whose completed items are kept, `outputs_by_retry` those whose outputs are; None in
    histories that are older than this.
    """

    by_retry: dict[str, tuple[int, ...]]
    by_fork: dict[str, dict[str, tuple[int, ...]]]
    items_by_retry: tuple[str, ...] | None = None
    outputs_by_retry: tuple[str, ...] | None = None


class History(Struct, frozen=True, kw_only=True):
    """A run as it was stored: its graphs by version, its facts, and the results computed from them."""

    graphs: dict[str, dict[str, Any]]
    facts: list[dict[str, Any]]
    due: list[Due]
    kept: Kept
    state: dict[str, Any]


def read_facts(history: History) -> list[RunFact]:
    """Return the facts as the log would."""
    return [decode_fact(1, fact["fact"], PLAIN_JSON, None, msgspec.json.encode(fact)) for fact in history.facts]  # pyright: ignore[reportReturnType]  # the facts of runs, and no others


def compute_due(graphs: dict[str, dict[str, Any]], facts: list[RunFact]) -> list[Due]:
    """Return the steps due after each fact."""
    found: list[Due] = []
    run = Run()
    for fact in facts:
        run = evolve(run, fact)
        graph = compile_graph(msgspec.convert(graphs[str(run.workflow_version)], Graph))
        again = find_due_on_resume(graph, run) if run.steps else find_due_at_start(graph)
        node: str = getattr(fact, "node", "")
        after = find_due_after(graph, run, [node] if node in graph.nodes else [])
        timers = {name: at for name, step in run.steps.items() if (at := get_due_time(step)) is not None}
        found.append(
            Due(
                start=again.start,
                skip=again.skip,
                next_start=after.start,
                next_skip=after.skip,
                timers=timers,
                all_settled=is_all_settled(graph, run),
            )
        )
    return found


def compute_kept(graphs: dict[str, dict[str, Any]], run: Run) -> Kept:
    """Return the steps that the verbs would keep of a run."""
    graph = msgspec.convert(graphs[str(run.workflow_version)], Graph)
    by_retry, given = select_kept_by_retry(run), find_nodes_with_output(run)
    return Kept(
        by_retry=by_retry,
        by_fork={node.id: select_kept_by_fork(graph, run, node.id) for node in graph.nodes},
        items_by_retry=find_nodes_with_finished_items(run, (*by_retry, *given)),
        outputs_by_retry=given,
    )


def build_history(graphs: dict[str, dict[str, Any]], facts: list[RunFact]) -> History:
    """Return the history of a run for the corpus."""
    run = Run()
    for fact in facts:
        run = evolve(run, fact)
    return History(
        graphs=graphs,
        facts=[msgspec.json.decode(msgspec.json.encode(fact)) for fact in facts],
        due=compute_due(graphs, facts),
        kept=compute_kept(graphs, run),
        state=msgspec.json.decode(msgspec.json.encode(run)),
    )


def load_history(name: str) -> History:
    """Read a history of the corpus."""
    return msgspec.json.decode((HISTORIES / f"{name}.json").read_bytes(), type=History)


def store_history(name: str, history: History) -> None:
    """Add a history to the corpus; one that is there is never written again."""
    HISTORIES.mkdir(exist_ok=True)
    with (HISTORIES / f"{name}.json").open("xb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(history), indent=0) + b"\n")


ALL: Final = sorted(path.stem for path in HISTORIES.glob("*.json"))
