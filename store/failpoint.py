"""Failpoints: named crash-sensitive points of the work, at which tests kill or stop a process."""

from collections.abc import Callable

FailPointHook = Callable[[str], None]
"""A test hook, called with the name of each crash-sensitive point as the work passes it."""


def noop(_name: str) -> None:
    """Return at once: outside of tests no failpoint is set."""
