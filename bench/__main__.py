"""The front door of the benches: `python -m bench NAME`; progress on stderr, the result on stdout."""

import argparse
import sys
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from msgspec import Struct

from bench import fanout, long_run
from bench.append import run as append
from bench.harness import report
from bench.harness.options import Options
from bench.harness.started import ServerFailed
from bench.http import run as http
from bench.lag import run as lag
from bench.rebuild import run as rebuild
from bench.runs import run as runs
from bench.streams import run as streams
from bench.timers import run as timers
from callsheet.embedded.programs import EmbeddedUnusable
from callsheet.telemetry.logging import configure_logging

BENCHES: Final[Mapping[str, Callable[[Options], Struct]]] = {
    "append": append.run,
    "fanout": fanout.run,
    "http": http.run,
    "lag": lag.run,
    "long-run": long_run.run,
    "rebuild": rebuild.run,
    "runs": runs.run,
    "streams": streams.run,
    "timers": timers.run,
}


def main() -> int:
    """Run one bench; the exit code says whether it could be measured, the bars in the result say how it came out."""
    arguments = _arguments()
    configure_logging("warning", "console")
    options = Options(
        quick=arguments.quick,
        database_url=arguments.database_url,
        seconds=arguments.seconds,
        apart=arguments.apart,
        projections_apart=arguments.projections_apart,
        attempts=arguments.attempts,
    )
    try:
        result = BENCHES[arguments.name](options)
    except (EmbeddedUnusable, ServerFailed) as fault:
        print(fault, file=sys.stderr)
        return 1
    print(_json(result) if arguments.json else report.text(result))
    return 0


def _json(result: Struct) -> str:
    return msgspec.json.format(msgspec.json.encode(result), indent=2).decode()


class _Arguments(argparse.Namespace):
    """Arguments of `python -m bench`."""

    name: str = ""
    json: bool = False
    quick: bool = False
    database_url: str | None = None
    seconds: float | None = None
    apart: bool = False
    projections_apart: bool = False
    attempts: bool = False


def _arguments() -> _Arguments:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Callsheet on this machine.")
    parser.add_argument("name", choices=sorted(BENCHES), help="what to measure")
    parser.add_argument("--json", action="store_true", help="write JSON instead of a table")
    parser.add_argument("--quick", action="store_true", help="a short form, to see that it works")
    parser.add_argument("--database-url", help="a PostgreSQL where databases may be made; else an embedded one")
    parser.add_argument("--seconds", type=float, help="how long a measurement takes (runs: the sustained one)")
    processes = parser.add_mutually_exclusive_group()
    processes.add_argument(
        "--apart", action="store_true", help="runs: gateway, engine and projections in a process each"
    )
    processes.add_argument(
        "--projections-apart",
        action="store_true",
        help="runs: gateway and engine in one process, projections in another",
    )
    parser.add_argument("--attempts", action="store_true", help="runs: model steps whose every attempt is committed")
    return parser.parse_args(namespace=_Arguments())


if __name__ == "__main__":
    sys.exit(main())
