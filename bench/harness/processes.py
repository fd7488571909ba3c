"""CPU time of a process and its children, read from /proc; None on systems without /proc."""

import os
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct


class CpuClock(Struct, frozen=True, kw_only=True):
    """The processes to add up: one, or one with all its children, including ended ones."""

    pid: int
    with_children: bool = False

    def seconds(self) -> float | None:
        """Return the CPU seconds used so far; None if unknown."""
        own = _seconds(self.pid, ended_children=self.with_children)
        if own is None or not self.with_children:
            return own
        return own + sum(_seconds(child, ended_children=True) or 0.0 for child in _children(self.pid))


def total(clocks: Sequence[CpuClock]) -> float | None:
    """Return the CPU seconds of several processes; None if those of one are unknown."""
    seconds = [clock.seconds() for clock in clocks]
    return None if None in seconds else sum(value for value in seconds if value is not None)


def share(before: float | None, after: float | None, elapsed_seconds: float) -> float | None:
    """Return the share of one core used between two readings; None if a reading is missing."""
    return None if before is None or after is None else round((after - before) / elapsed_seconds, 2)


def _seconds(pid: int, *, ended_children: bool) -> float | None:
    fields = _stat(pid)
    if fields is None:
        return None
    ticks = [int(field) for field in fields[11:15]]  # utime, stime, cutime, cstime: proc(5), counted after the name
    return sum(ticks if ended_children else ticks[:2]) / os.sysconf("SC_CLK_TCK")


def _children(pid: int) -> list[int]:
    stats = ((int(entry.name), _stat(int(entry.name))) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [child for child, fields in stats if fields is not None and int(fields[1]) == pid]


def _stat(pid: int) -> list[str] | None:
    """Return the fields after the program name, which may contain spaces; None if the process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # no /proc here, or the process has just ended
        return None
