"""Description of the machine: a figure means nothing without it."""

import os
import platform
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Final

from msgspec import Struct

PACKAGES: Final = ("eventsourcing", "litestar", "msgspec", "psycopg", "uvicorn", "uvloop")
SYNCS: Final = 100
PAGE: Final = b"\0" * 8_192
LOOPS: Final = 20
LOOP: Final = 20_000


class Machine(Struct, frozen=True, kw_only=True):
    """The machine and the versions. `sync_ms` is the median time to bring a page to the disk; None for another's.

    `loop_ms` is the median time of a fixed loop of Python: by it the figures of two hours, two machines, or two builds
    of the interpreter compare.
    """

    system: str
    processor: str
    cores: int
    load_before: float
    sync_ms: float | None
    loop_ms: float
    python: str
    packages: dict[str, str]


def machine(directory: Path | None) -> Machine:
    """Describe this machine, and the disk under `directory`, where the measured database lives."""
    return Machine(
        system=platform.platform(),
        processor=_processor(),
        cores=os.cpu_count() or 1,
        load_before=round(os.getloadavg()[0], 2),
        sync_ms=None if directory is None else _sync_ms(directory),
        loop_ms=_loop_ms(),
        python=platform.python_version(),
        packages={name: version(name) for name in PACKAGES},
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def _sync_ms(directory: Path) -> float:
    """Write a page and sync it repeatedly: near zero means that the disk is memory, or does not sync."""
    times: list[float] = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(SYNCS):
            file.seek(0)
            file.write(PAGE)
            file.flush()
            begun = time.perf_counter()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - begun)
    return round(statistics.median(times) * 1_000, 3)


def _loop_ms() -> float:
    """Create small objects repeatedly: what one core does with this interpreter right now."""
    times: list[float] = []
    for _ in range(LOOPS):
        kept: dict[int, tuple[int, str]] = {}
        begun = time.perf_counter()
        for number in range(LOOP):
            kept[number & 255] = number, str(number)
        times.append(time.perf_counter() - begun)
    return round(statistics.median(times) * 1_000, 2)
