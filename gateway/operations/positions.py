"""Positions in requests and responses: plain in headers, with a tag of the log where a caller keeps them for long."""

import re
from typing import Final

from gateway.http.rejections import CursorReset
from store.log.identity import LogIdentity

PLAIN: Final = re.compile(r"[0-9]{1,18}")
TAGGED: Final = re.compile(r"([0-9a-f]{12})-([0-9]{1,18})")


class PositionCodec:
    """Encodes positions of one log, so that a position that it does not have any more is recognised."""

    def __init__(self, identity: LogIdentity) -> None:
        """Create a codec for a log."""
        self._identity = identity
        self.log_tag = identity.tag

    def encode(self, position: int) -> str:
        """Return a position with the tag of its epoch of the log."""
        return self._identity.format_event_id(position)

    def decode(self, text: str) -> int:
        """Parse a position, with or without a tag. Raises ValueError, CursorReset."""
        if PLAIN.fullmatch(text):
            return int(text)
        found = TAGGED.fullmatch(text)
        if found is None:
            raise ValueError("must be a position such as `1234`, or the id of an event")
        self.check(found[1], int(found[2]))
        return int(found[2])

    def check(self, tag: str, position: int) -> None:
        """Check that what a caller saw up to a position is still in the log. Raises CursorReset.

        Positions of an earlier epoch stay valid up to where a restore has cut it off.
        """
        valid = self._identity.find_valid_position(tag, position)
        if valid != position:
            raise self.create_reset(valid or 0)

    def create_reset(self, position: int) -> CursorReset:
        """Return the rejection after which a caller resumes from a position."""
        return CursorReset(self.encode(position))
