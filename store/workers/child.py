"""A worker process: evaluates work that it receives over its standard input, until that ends.

`python -m store.workers.child MEMORY_BYTES CPU_SECONDS`. It holds no connection, no secret and no state between two
pieces of work, so that it can be killed at any time. Each message is a length of 8 bytes and a pickle; the parent is
trusted, and what comes back was pickled by this module.
"""

import gc
import importlib
import math
import os
import pickle
import resource
import sys
from collections.abc import Callable
from typing import Any, BinaryIO, Final

from store.workers.messages import LENGTH_BYTES, READY, WorkerMemoryExhausted, pack_fault

PRELOADED: Final = "domain.graphs.validation.check"
"""Imports every expression language, so that the time of the first work does not include that."""
NICENESS: Final = 5
"""The event loops of the same machine come first."""


def main() -> None:
    """Serve until the standard input ends, or memory runs out."""
    os.nice(NICENESS)
    limit_memory(int(sys.argv[1]))
    cpu_seconds_max = float(sys.argv[2])
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not become a message
    importlib.import_module(PRELOADED)
    gc.freeze()
    send(sink, READY)
    while (message := read_message(source)) is not None:
        limit_cpu(cpu_seconds_max)
        answer, is_last = evaluate(message)
        send(sink, answer)
        if is_last:
            return


def send(sink: BinaryIO, message: bytes) -> None:
    """Write one message."""
    sink.write(len(message).to_bytes(LENGTH_BYTES, "big") + message)
    sink.flush()


def limit_memory(bytes_max: int) -> None:
    """Limit the address space of this process, where the platform supports it."""
    try:
        resource.setrlimit(resource.RLIMIT_AS, (bytes_max, bytes_max))
    except (OSError, ValueError):  # macOS does not limit address space: there only the deadline holds
        return


def limit_cpu(seconds_max: float) -> None:
    """Limit the CPU time of this process: after so many more seconds, rounded up, it is killed (SIGXCPU)."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    until = math.ceil(usage.ru_utime + usage.ru_stime + seconds_max)
    resource.setrlimit(resource.RLIMIT_CPU, (until, resource.RLIM_INFINITY))


def read_message(source: BinaryIO) -> bytes | None:
    """Read one message; None at the end of the input."""
    header = source.read(LENGTH_BYTES)
    if len(header) < LENGTH_BYTES:
        return None
    return source.read(int.from_bytes(header, "big"))


def evaluate(message: bytes) -> tuple[bytes, bool]:
    """Return the pickled outcome of a piece of work, `(True, value)` or `(False, exception)`, and whether to stop."""
    try:
        work: Callable[[], Any] = pickle.loads(message)  # noqa: S301  # written by the parent
        return pickle.dumps((True, work()), pickle.HIGHEST_PROTOCOL), False
    except MemoryError:
        return pickle.dumps((False, pack_fault(WorkerMemoryExhausted()))), True
    except Exception as fault:  # noqa: BLE001  # it is raised again in the parent
        return pickle_fault(fault), False


def pickle_fault(fault: Exception) -> bytes:
    """Return an exception as an outcome; one that cannot be pickled as a RuntimeError with its text."""
    try:
        return pickle.dumps((False, pack_fault(fault)), pickle.HIGHEST_PROTOCOL)
    except Exception:  # noqa: BLE001  # one of its parts cannot be pickled
        return pickle.dumps((False, pack_fault(RuntimeError(f"{type(fault).__name__}: {fault}"))))


if __name__ == "__main__":
    main()
