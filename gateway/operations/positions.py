"""Positions in requests and responses: plain in headers, with a tag of the log where a caller keeps them for long."""

import re
from typing import Final
from uuid import UUID

from gateway.http.rejections import OtherLog
from store.log.event_id import mark_of, marked

PLAIN: Final = re.compile(r"[0-9]{1,18}")
TAGGED: Final = re.compile(r"([0-9a-f]{12})-([0-9]{1,18})")


class PositionCodec:
    """Encodes positions of one log, so that a position of another log is recognised."""

    def __init__(self, log_id: UUID) -> None:
        """Create a codec for a log."""
        self.log_tag = mark_of(log_id)

    def encode(self, position: int) -> str:
        """Return a position with the tag of its log."""
        return marked(self.log_tag, position)

    def decode(self, text: str) -> int:
        """Parse a position, with or without the tag. Raises ValueError, OtherLog."""
        if PLAIN.fullmatch(text):
            return int(text)
        found = TAGGED.fullmatch(text)
        if found is None:
            raise ValueError("must be a position such as `1234`, or the id of an event")
        if found[1] != self.log_tag:
            raise OtherLog
        return int(found[2])
