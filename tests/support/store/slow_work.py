"""Work for worker processes: module-level functions, since work is sent by name."""

import os
import time
from pathlib import Path

from domain.expressions.budget import INLINE_WORK_MAX, Budget


def return_process(budget: Budget) -> int:
    """Return the id of the process that evaluates this, which is too much work to be evaluated inline."""
    budget.charge(INLINE_WORK_MAX + 1)
    return os.getpid()


def return_process_inline(_budget: Budget) -> int:
    return os.getpid()


def record(directory: str, name: str, waits_for: str | None = None) -> None:
    """Create a file of this name, after the file `waits_for` exists."""
    while waits_for is not None and not (Path(directory) / waits_for).exists():
        time.sleep(0.005)
    (Path(directory) / name).touch()


def sleep_for_ever(started: str) -> None:
    Path(started).write_text(str(os.getpid()))
    while True:
        time.sleep(1)


def compute_for_ever() -> None:
    while True:
        pass


def allocate(size: int) -> int:
    return len(bytearray(size))


def list_environment() -> dict[str, str]:
    return dict(os.environ)


def end_process() -> None:
    os._exit(3)


class TwoFacedError(Exception):
    """An exception whose initialiser takes other arguments than its message."""

    def __init__(self, size: int, limit: int) -> None:
        """Keep the size."""
        super().__init__(f"{size} is over {limit}")
        self.size = size


def fail() -> None:
    raise TwoFacedError(2, 1)
