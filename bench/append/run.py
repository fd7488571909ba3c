"""`bench append`: the log against the stock recorder and pgbench, at every concurrency, empty and grown."""

from pathlib import Path
from typing import Final

from bench.append import ours as append_ours
from bench.append import pgbench as append_pgbench
from bench.append import stock as append_stock
from bench.append.logs import grow, never_analyse, read_state
from bench.append.ours import Load
from bench.append.result import AppendResult, Rounds, append_result, no_rounds
from bench.harness.figures import Figures
from bench.harness.machine import machine
from bench.harness.options import IN_FLIGHT_APPENDS, AppendPlan, Options, append_plan
from bench.harness.progress import print_progress
from bench.harness.servers import Postgres, postgres
from callsheet.server.gc_tuning import tune_garbage_collector

COMPONENTS: Final = ("store",)
CONFLICTS_IN_FLIGHT: Final = 256


def run(options: Options) -> AppendResult:
    """Measure, and hold the figures to the bars. Raises EmbeddedUnusable."""
    plan = append_plan(options)
    with postgres(options) as server:
        where = machine(server.directory)
        tune_garbage_collector()
        rounds = no_rounds(append_stock.THREADS, append_pgbench.CLIENTS)
        grown = _prepare(server, plan)
        for number in range(1, plan.rounds + 1):
            print_progress(f"round {number} of {plan.rounds}")
            _round(server, plan, grown, rounds)
        result = append_result(options, plan, where, server.settings(), read_state(grown), rounds)
        for name in ("empty", "grown", "stock", "pgbench"):
            server.drop_database(name)
        return result


def _prepare(server: Postgres, plan: AppendPlan) -> str:
    """Create the databases; return the connection string of the grown log, which is never analysed."""
    append_pgbench.prepare(server.fresh_database("pgbench", ()))
    server.fresh_database("stock", ())
    grown = server.fresh_database("grown", COMPONENTS)
    never_analyse(grown)
    grow(grown, plan.grown_events)
    server.checkpoint()
    return grown


def _round(server: Postgres, plan: AppendPlan, grown: str, rounds: Rounds) -> None:
    """Measure everything once: what is compared stands side by side, as a machine's speed drifts."""
    _stock(server, plan, rounds)
    _pgbench(server, plan, rounds)
    for in_flight in IN_FLIGHT_APPENDS:
        load = _load(plan, in_flight)
        rounds.empty[in_flight].append(_report("empty log", in_flight, append_ours.measure(_empty(server), load)))
        rounds.grown[in_flight].append(_report("grown log", in_flight, append_ours.measure(grown, load)))
    load = _load(plan, CONFLICTS_IN_FLIGHT)
    rounds.plain.append(_report("without conflicts", load.in_flight, append_ours.measure(_empty(server), load)))
    rounds.conflicts.append(append_ours.measure_conflicts(_empty(server), load))
    _report("with 1 % conflicts", load.in_flight, rounds.conflicts[-1].figures)


def _stock(server: Postgres, plan: AppendPlan, rounds: Rounds) -> None:
    conninfo = server.of_database("stock")
    for threads in append_stock.THREADS:
        measured = append_stock.measure(conninfo, threads, plan.seconds, plan.warm_up_seconds)
        rounds.stock[threads].append(_report("stock recorder", threads, measured))


def _pgbench(server: Postgres, plan: AppendPlan, rounds: Rounds) -> None:
    program = append_pgbench.find_pgbench(server.directory or Path.cwd())
    if program is None:
        print_progress("  there is no pgbench here: not measured")
        return
    for clients in append_pgbench.CLIENTS:
        measured = append_pgbench.measure(program, server.of_database("pgbench"), clients, plan.seconds)
        print_progress(
            f"  {'pgbench':<18} {clients:>5}  {measured.appends_per_second:>9,.0f}/s  mean {measured.mean_ms:>7.2f} ms"
        )
        rounds.pgbench[clients].append(measured)


def _empty(server: Postgres) -> str:
    """Create an empty log: a fresh one for each measurement, so that none depends on another."""
    conninfo = server.fresh_database("empty", COMPONENTS)
    never_analyse(conninfo)
    return conninfo


def _load(plan: AppendPlan, in_flight: int) -> Load:
    return Load(in_flight=in_flight, seconds=plan.seconds, warm_up_seconds=plan.warm_up_seconds)


def _report(what: str, concurrency: int, measured: Figures) -> Figures:
    print_progress(
        f"  {what:<18} {concurrency:>5}  {measured.per_second:>9,.0f}/s"
        f"  p50 {measured.p50_ms:>8.2f} ms  p99 {measured.p99_ms:>8.2f} ms"
    )
    return measured
