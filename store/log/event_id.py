"""Marks: a position with the short form of its log's id, by which a position of another log is noticed."""

from uuid import UUID


def mark_of(log_id: UUID) -> str:
    """Return the last 48 bits of a log's id, which tell a restored log from the one before."""
    return log_id.hex[-12:]


def marked(mark: str, position: int) -> str:
    """Write a position with its log: the id of an event, wherever it is seen."""
    return f"{mark}-{position}"
