"""Result of `bench append` as written to stdout, and the bars that it must reach."""

import statistics
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from bench.append.event import Row, row
from bench.append.logs import LogState
from bench.append.ours import ConflictResult
from bench.append.pgbench import PgbenchFigures
from bench.harness.figures import Bar, Figures, bar, collapse, median_figures, median_ratio
from bench.harness.machine import Machine
from bench.harness.options import IN_FLIGHT_APPENDS, AppendPlan, Options

RATIO_TO_STOCK: Final = 30.0
GROWN_RATIO: Final = 0.8
GROWN_FROM_IN_FLIGHT: Final = 64
COLLAPSE: Final = 0.6


class Rounds(Struct, kw_only=True):
    """Figures of each measurement by round; by commands in flight, by threads, or by clients."""

    empty: dict[int, list[Figures]]
    grown: dict[int, list[Figures]]
    stock: dict[int, list[Figures]]
    pgbench: dict[int, list[PgbenchFigures]]
    conflicts: list[ConflictResult]
    plain: list[Figures]


class Concurrency(Struct, frozen=True, kw_only=True):
    """Ours at one concurrency, on an empty log and on the grown one: medians over the rounds.

    `grown_ratio` is the median of the rounds' own ratios: the two loads of a round run right after each other, and
    those of different rounds minutes apart, on a machine whose speed has moved by a half meanwhile.
    """

    in_flight: int
    appends_per_second: float
    p50_ms: float
    p99_ms: float
    grown_appends_per_second: float
    grown_p50_ms: float
    grown_p99_ms: float
    grown_ratio: float


class Stock(Struct, frozen=True, kw_only=True):
    """The stock recorder from so many threads: medians over the rounds."""

    threads: int
    appends_per_second: float
    p50_ms: float
    p99_ms: float


class Conflicts(Struct, frozen=True, kw_only=True):
    """A load of which one command in a hundred conflicts, beside the same load without; the counts are of all rounds.

    Only their own callers failed: each command that came too late was refused, no other one was, and the log grew by
    what was accepted, to the event.
    """

    in_every: int
    appends_per_second: float
    appends_per_second_without: float
    throughput_ratio: float
    p50_ms: float
    p99_ms: float
    conflicting_sent: int
    conflicting_refused: int
    accepted: int
    others_failed: int
    log_grew_by: int
    only_their_own_callers_failed: bool


class AppendResult(Struct, frozen=True, kw_only=True):
    """The whole result of `bench append`."""

    bench: str
    quick: bool
    machine: Machine
    postgres: dict[str, str]
    plan: AppendPlan
    row: Row
    ratio_to_stock: float
    ratio_to_pgbench: float | None
    collapse: float
    grown_collapse: float
    grown_ratio: dict[int, float]
    concurrencies: list[Concurrency]
    stock: list[Stock]
    pgbench: list[PgbenchFigures]
    conflicts: Conflicts
    grown_log: LogState
    bars: list[Bar]


def no_rounds(threads: Sequence[int], clients: Sequence[int]) -> Rounds:
    """Return empty rounds to append to."""
    return Rounds(
        empty={n: [] for n in IN_FLIGHT_APPENDS},
        grown={n: [] for n in IN_FLIGHT_APPENDS},
        stock={n: [] for n in threads},
        pgbench={n: [] for n in clients},
        conflicts=[],
        plain=[],
    )


def append_result(
    options: Options, plan: AppendPlan, where: Machine, postgres: dict[str, str], grown_log: LogState, rounds: Rounds
) -> AppendResult:
    """Sum up the rounds."""
    concurrencies = [_concurrency(n, rounds.empty[n], rounds.grown[n]) for n in IN_FLIGHT_APPENDS]
    stock = [_stock(threads, found) for threads, found in rounds.stock.items()]
    pgbench = [_pgbench(clients, found) for clients, found in rounds.pgbench.items() if found]
    best = max(entry.appends_per_second for entry in concurrencies)
    best_pgbench = max((entry.appends_per_second for entry in pgbench), default=None)
    result = AppendResult(
        bench="append",
        quick=options.quick,
        machine=where,
        postgres=postgres,
        plan=plan,
        row=row(),
        ratio_to_stock=round(best / max(entry.appends_per_second for entry in stock), 2),
        ratio_to_pgbench=None if best_pgbench is None else round(best / best_pgbench, 2),
        collapse=collapse({entry.in_flight: entry.appends_per_second for entry in concurrencies}),
        grown_collapse=collapse({entry.in_flight: entry.grown_appends_per_second for entry in concurrencies}),
        grown_ratio={entry.in_flight: entry.grown_ratio for entry in concurrencies},
        concurrencies=concurrencies,
        stock=stock,
        pgbench=pgbench,
        conflicts=_conflicts(rounds.conflicts, rounds.plain),
        grown_log=grown_log,
        bars=[],
    )
    result.bars.extend(_bars(result))
    return result


def _concurrency(in_flight: int, empty: Sequence[Figures], grown: Sequence[Figures]) -> Concurrency:
    on_empty, on_grown = median_figures(empty), median_figures(grown)
    return Concurrency(
        in_flight=in_flight,
        appends_per_second=on_empty.per_second,
        p50_ms=on_empty.p50_ms,
        p99_ms=on_empty.p99_ms,
        grown_appends_per_second=on_grown.per_second,
        grown_p50_ms=on_grown.p50_ms,
        grown_p99_ms=on_grown.p99_ms,
        grown_ratio=median_ratio(grown, empty),
    )


def _stock(threads: int, rounds: Sequence[Figures]) -> Stock:
    found = median_figures(rounds)
    return Stock(threads=threads, appends_per_second=found.per_second, p50_ms=found.p50_ms, p99_ms=found.p99_ms)


def _pgbench(clients: int, rounds: Sequence[PgbenchFigures]) -> PgbenchFigures:
    return PgbenchFigures(
        clients=clients,
        appends_per_second=statistics.median(entry.appends_per_second for entry in rounds),
        mean_ms=statistics.median(entry.mean_ms for entry in rounds),
    )


def _conflicts(rounds: Sequence[ConflictResult], plain: Sequence[Figures]) -> Conflicts:
    found = median_figures([entry.figures for entry in rounds])
    without = median_figures(plain).per_second
    sent = sum(entry.count.conflicting_sent for entry in rounds)
    refused = sum(entry.count.conflicting_refused for entry in rounds)
    accepted = sum(entry.count.accepted for entry in rounds)
    failed = sum(entry.count.others_failed for entry in rounds)
    grew_by = sum(entry.log_grew_by for entry in rounds)
    return Conflicts(
        in_every=rounds[0].in_every,
        appends_per_second=found.per_second,
        appends_per_second_without=without,
        throughput_ratio=round(found.per_second / without, 3),
        p50_ms=found.p50_ms,
        p99_ms=found.p99_ms,
        conflicting_sent=sent,
        conflicting_refused=refused,
        accepted=accepted,
        others_failed=failed,
        log_grew_by=grew_by,
        only_their_own_callers_failed=0 < sent == refused and failed == 0 and grew_by == accepted,
    )


def _bars(result: AppendResult) -> list[Bar]:
    conflicts, log = result.conflicts, result.grown_log
    grown = [entry for entry in result.concurrencies if entry.in_flight >= GROWN_FROM_IN_FLIGHT]
    return [
        bar("ratio_to_stock", result.ratio_to_stock, ">=", RATIO_TO_STOCK),
        *(bar(f"grown_ratio at {entry.in_flight} in flight", entry.grown_ratio, ">=", GROWN_RATIO) for entry in grown),
        bar("collapse on an empty log", result.collapse, ">=", COLLAPSE),
        bar("collapse on the grown log", result.grown_collapse, ">=", COLLAPSE),
        bar("1 % conflicts: other callers that failed", conflicts.others_failed, "<=", 0),
        bar("1 % conflicts: only their own callers failed", conflicts.only_their_own_callers_failed, ">=", 1),
        bar("the grown log is gapless and was never analysed", log.gapless and not log.analysed, ">=", 1),
    ]
