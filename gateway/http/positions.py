"""Positions on the wire: plain in headers, and with the log's id where a caller keeps them for long."""

import re
from typing import Final
from uuid import UUID

from gateway.http.rejections import Malformed, OtherLog
from store.log.event_id import mark_of, marked

PLAIN: Final = re.compile(r"[0-9]{1,18}")
MARKED: Final = re.compile(r"([0-9a-f]{12})-([0-9]{1,18})")


class LogMark:
    """Marks positions as those of one log, so that a position of another is noticed."""

    def __init__(self, log_id: UUID) -> None:
        """Take the mark of a log."""
        self.text = mark_of(log_id)

    def write(self, position: int) -> str:
        """Write a position with its log."""
        return marked(self.text, position)

    def read(self, text: str) -> int:
        """Read a position, with or without its log. Raises Malformed, OtherLog."""
        if PLAIN.fullmatch(text):
            return int(text)
        found = MARKED.fullmatch(text)
        if found is None:
            raise Malformed("A position looks like 1234, or like an event's id.")
        if found[1] != self.text:
            raise OtherLog
        return int(found[2])
