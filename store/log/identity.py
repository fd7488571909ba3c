"""The identity of a log: its id and its epochs, from which ids of events and cursors get their tag.

A restore brings back an older log with the same id, and the positions after the restore point are used again. So the
id of an event has the tag of an epoch: the first one has that of the log's id, and each rewind begins another. Tags of
later epochs are times in milliseconds, so they grow, also if a restore has removed the epochs before.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct


class LogEpoch(Struct, frozen=True, kw_only=True):
    """A range of the log: the facts after the position `after`, up to the start of the next epoch."""

    tag: str
    after: int
    began_at: datetime | None = None
    reason: str = ""


class LogIdentity(Struct, frozen=True, kw_only=True):
    """The id of a log, and its epochs from the first to the current one."""

    log_id: UUID
    epochs: tuple[LogEpoch, ...]

    @property
    def epoch(self) -> LogEpoch:
        """Return the current epoch."""
        return self.epochs[-1]

    @property
    def tag(self) -> str:
        """Return the tag of the current epoch."""
        return self.epochs[-1].tag

    def find_epoch(self, position: int) -> LogEpoch:
        """Return the epoch of the fact at a position."""
        for epoch in reversed(self.epochs):
            if epoch.after < position:
                return epoch
        return self.epochs[0]

    def format_event_id(self, position: int) -> str:
        """Return the id of the event at a position: the same for every delivery, by whatever way."""
        return format_event_id(self.find_epoch(position).tag, position)

    def find_valid_position(self, tag: str, position: int) -> int | None:
        """Return the last position up to which a reader that is at `position` of the epoch `tag` has valid facts.

        It is `position` itself unless a later epoch began before it. None if the log does not know the tag: it is of
        another log, or a restore has removed the epoch.
        """
        for number, epoch in enumerate(self.epochs):
            if epoch.tag == tag:
                return min(position, *(later.after for later in self.epochs[number + 1 :]), position)
        return None

    def is_later(self, tag: str, than: str) -> bool:
        """Return whether the epoch `tag` began after the epoch `than`; either may be one that the log lost."""
        first = self.epochs[0].tag
        return (tag != first, tag) > (than != first, than)


def create_identity(log_id: UUID, later: Sequence[LogEpoch] = ()) -> LogIdentity:
    """Return the identity of a log with its first epoch, and those that began later."""
    return LogIdentity(log_id=log_id, epochs=(LogEpoch(tag=create_first_tag(log_id), after=0), *later))


def create_first_tag(log_id: UUID) -> str:
    """Return the tag of the first epoch: the last 48 bits of the log's id."""
    return log_id.hex[-12:]


def format_event_id(tag: str, position: int) -> str:
    """Return a position with the tag of its epoch."""
    return f"{tag}-{position}"
