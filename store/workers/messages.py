"""Messages between a worker process and its parent."""

from typing import Any, Final

LENGTH_BYTES: Final = 8
READY: Final = b"ready"
"""The first message of a worker: it has imported what it needs."""

PackedFault = tuple[type[BaseException], tuple[Any, ...], dict[str, Any]]
"""An exception as its parts: pickle would call its initialiser with its message alone."""


def pack_fault(fault: Exception) -> PackedFault:
    """Return the parts of an exception."""
    return type(fault), fault.args, dict(vars(fault))


def unpack_fault(packed: PackedFault) -> BaseException:
    """Return the exception that has these parts."""
    kind, arguments, fields = packed
    fault = kind.__new__(kind, *arguments)
    fault.args = arguments
    vars(fault).update(fields)
    return fault


class WorkerMemoryExhausted(Exception):  # noqa: N818  # a message to the parent
    """The work needs more memory than a worker may have."""
