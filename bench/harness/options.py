"""Command line options of the benches, and the plans that follow from them."""

from msgspec import Struct

IN_FLIGHT_APPENDS = (1, 16, 64, 256, 1_000)
IN_FLIGHT_RUNS = (1, 16, 64, 128, 256)
IN_FLIGHT_HTTP = (1, 16, 64, 256)


class Options(Struct, frozen=True, kw_only=True):
    """Options of one invocation."""

    quick: bool = False
    """Short form: it shows that everything works; its figures mean nothing."""
    database_url: str | None = None
    """Connection string of a PostgreSQL where databases may be created; None starts the embedded one."""
    seconds: float | None = None
    """Length of each measurement (`runs`: of the sustained one); None is the default of the bench."""
    apart: bool = False
    """`runs`: gateway, engine and projections in a process each, in place of one for all."""
    projections_apart: bool = False
    """`runs`: gateway and engine in one process, projections in another: one process for each of two cores."""
    attempts: bool = False
    """`runs`: three scripted model steps, so that each claim, call and result is committed, in place of pure steps."""


class AppendPlan(Struct, frozen=True, kw_only=True):
    """Durations and rounds of `append`."""

    seconds: float = 4.0
    warm_up_seconds: float = 1.0
    rounds: int = 3
    grown_events: int = 1_000_000


class RunsPlan(Struct, frozen=True, kw_only=True):
    """Durations of `runs`."""

    seconds: float = 6.0
    warm_up_seconds: float = 2.0
    sustained_seconds: float = 30.0
    sustained_tries: int = 3


class HttpPlan(Struct, frozen=True, kw_only=True):
    """Durations of `http`, and how many requests measure the middleware."""

    seconds: float = 4.0
    warm_up_seconds: float = 1.0
    middleware_requests: int = 100_000


def append_plan(options: Options) -> AppendPlan:
    """Return the plan of `append`."""
    if options.quick:
        return AppendPlan(seconds=options.seconds or 1.0, warm_up_seconds=0.3, rounds=1, grown_events=100_000)
    return AppendPlan(seconds=options.seconds or 4.0)


def runs_plan(options: Options) -> RunsPlan:
    """Return the plan of `runs`."""
    if options.quick:
        sustained = options.seconds or 3.0
        return RunsPlan(seconds=1.0, warm_up_seconds=0.5, sustained_seconds=sustained, sustained_tries=1)
    return RunsPlan(sustained_seconds=options.seconds or 30.0)


def http_plan(options: Options) -> HttpPlan:
    """Return the plan of `http`."""
    if options.quick:
        return HttpPlan(seconds=options.seconds or 0.5, warm_up_seconds=0.2, middleware_requests=5_000)
    return HttpPlan(seconds=options.seconds or 4.0)
