"""The result of `bench runs`, as written to stdout, and its bars."""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from bench.harness.figures import Bar, bar, collapse
from bench.harness.machine import Machine
from bench.harness.options import Options, RunsPlan
from bench.runs.load import Phase
from bench.runs.server import STEPS
from bench.runs.verified import Verification, is_consistent

BEST_RUNS_PER_SECOND: Final = 1_500.0
P50_ALONE_MS: Final = 6.0
P50_ALONE_APART_MS: Final = 15.0
BEST_ATTEMPTS_PER_SECOND: Final = 2_300.0
"""Of runs with real attempts, in the best set-up: one process, `--projections-apart` or `--apart`."""
P50_ALONE_ATTEMPTS_MS: Final = 3.0
LAG_P99_MS: Final = 1_000.0
COLLAPSE: Final = 0.6


class RunsResult(Struct, frozen=True, kw_only=True):
    """The result of `bench runs`.

    `concurrencies` are short loads; `sustained` the long ones, of which the best that kept the read models close gives
    `best_runs_per_second` and `projection_lag_ms_p99`. None: none did.
    """

    bench: str
    quick: bool
    apart: bool
    projections_apart: bool
    attempts: bool
    machine: Machine
    postgres: dict[str, str]
    plan: RunsPlan
    best_runs_per_second: float | None
    best_in_flight: int | None
    projection_lag_ms_p99: float | None
    p50_alone_ms: float
    collapse: float
    concurrencies: list[Phase]
    sustained: list[Phase]
    verified: bool
    verification: Verification
    bars: list[Bar]


class Measured(Struct, frozen=True, kw_only=True):
    """The loads on the server, and the verification of all runs."""

    short: list[Phase]
    sustained: list[Phase]
    verification: Verification


def is_sustained(phase: Phase) -> bool:
    """Return whether the read models kept up during a load and no run failed."""
    return phase.lag_ms_p99 <= LAG_P99_MS and phase.failed == 0


def runs_result(
    options: Options, plan: RunsPlan, where: Machine, postgres: dict[str, str], measured: Measured
) -> RunsResult:
    """Return the result of the loads."""
    kept = [phase for phase in measured.sustained if is_sustained(phase)]
    best = max(kept, key=lambda phase: phase.runs_per_second, default=None)
    result = RunsResult(
        bench="runs",
        quick=options.quick,
        apart=options.apart,
        projections_apart=options.projections_apart,
        attempts=options.attempts,
        machine=where,
        postgres=postgres,
        plan=plan,
        best_runs_per_second=None if best is None else best.runs_per_second,
        best_in_flight=None if best is None else best.in_flight,
        projection_lag_ms_p99=None if best is None else best.lag_ms_p99,
        p50_alone_ms=next(phase.p50_ms for phase in measured.short if phase.in_flight == 1),
        collapse=collapse({phase.in_flight: phase.runs_per_second for phase in measured.short}),
        concurrencies=measured.short,
        sustained=measured.sustained,
        verified=is_consistent(measured.verification, len(STEPS)),
        verification=measured.verification,
        bars=[],
    )
    result.bars.extend(_bars(result))
    return result


def _bars(result: RunsResult) -> Sequence[Bar]:
    if result.attempts:
        return (
            bar("best_runs_per_second", result.best_runs_per_second, ">=", BEST_ATTEMPTS_PER_SECOND),
            bar("projection_lag_ms_p99", result.projection_lag_ms_p99, "<=", LAG_P99_MS),
            bar("p50_alone_ms", result.p50_alone_ms, "<=", P50_ALONE_ATTEMPTS_MS),
            bar("verified", result.verified, ">=", 1),
        )
    if result.apart or result.projections_apart:
        return (
            bar("p50_alone_ms", result.p50_alone_ms, "<=", P50_ALONE_APART_MS),
            bar("verified", result.verified, ">=", 1),
        )
    return (
        bar("best_runs_per_second", result.best_runs_per_second, ">=", BEST_RUNS_PER_SECOND),
        bar("projection_lag_ms_p99", result.projection_lag_ms_p99, "<=", LAG_P99_MS),
        bar("p50_alone_ms", result.p50_alone_ms, "<=", P50_ALONE_MS),
        bar("collapse", result.collapse, ">=", COLLAPSE),
        bar("verified", result.verified, ">=", 1),
    )
