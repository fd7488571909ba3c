"""How much processor time a process and its children have taken, read from /proc; nothing where there is no /proc."""

import os
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct


class CpuClock(Struct, frozen=True, kw_only=True):
    """Which processes to add up: one, or one with all its children, ended ones too."""

    pid: int
    with_children: bool = False

    def seconds(self) -> float | None:
        """Give the processor seconds taken until now; None where they cannot be known."""
        own = _seconds(self.pid, ended_children=self.with_children)
        if own is None or not self.with_children:
            return own
        return own + sum(_seconds(child, ended_children=True) or 0.0 for child in _children(self.pid))


def total(clocks: Sequence[CpuClock]) -> float | None:
    """Give the processor seconds of several processes; None where those of one cannot be known."""
    seconds = [clock.seconds() for clock in clocks]
    return None if None in seconds else sum(one for one in seconds if one is not None)


def share(before: float | None, after: float | None, elapsed_seconds: float) -> float | None:
    """Give the share of one core that was taken between two readings; None where they could not be read."""
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
    """Give the fields after the name of the program, which may hold spaces."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # no /proc here, or the process has just ended
        return None
