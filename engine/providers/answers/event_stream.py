"""Decode the body of a response piece by piece: an event stream, or one JSON document that was sent in its place.

The bytes decide which of the two it is, since some servers ignore `stream` and others send a wrong media type.
Source: WHATWG HTML, 9.2.5 and 9.2.6.
"""

import codecs
import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Final

from msgspec import Struct

_LINE_END: Final = re.compile(r"\r\n|\n|\r")
_FIELD: Final = re.compile(r"(?:data|event|id|retry)?:")
_FIELD_CHARACTERS_MAX: Final = len("event:")


class TooLong(Exception):  # noqa: N818  # the caller knows which limit it set
    """An event, or the document, exceeds its limit."""


class Shape(StrEnum):
    """Kind of a body, by its first characters."""

    UNDECIDED = "undecided"
    EVENTS = "events"
    DOCUMENT = "document"
    OTHER = "other"


class Event(Struct, frozen=True):
    """One event of a stream: its name, empty if it has none, and its data."""

    name: str
    data: str


class BodyDecoder:
    """Decodes one body. Invalid UTF-8 becomes U+FFFD; a byte order mark at its beginning is skipped."""

    def __init__(self, *, event_bytes_max: int, document_bytes_max: int) -> None:
        """Create it for the beginning of a body."""
        self.shape = Shape.UNDECIDED
        self._event_bytes_max = event_bytes_max
        self._document_bytes_max = document_bytes_max
        self._text = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
        self._parts: list[str] = []
        self._characters = 0
        self._name = ""
        self._data: list[str] = []
        self._data_characters = 0

    def feed(self, raw: bytes) -> Iterator[Event]:
        """Yield the events that are complete with these bytes. Raises TooLong."""
        text = self._text.decode(raw)
        self._append(text)
        was_undecided = self.shape is Shape.UNDECIDED
        if was_undecided:
            self._decide_shape(is_end=False)
        # Without a line end there is nothing to split: joining what is held for each byte took quadratic time.
        if self.shape is Shape.EVENTS and (was_undecided or "\n" in text or "\r" in text):
            yield from self._split_lines(is_end=False)
        self._check_size()

    def finish(self) -> Iterator[Event]:
        """Yield what the end of the body completes: some servers leave out the last blank line. Raises TooLong."""
        self._append(self._text.decode(b"", final=True))
        if self.shape is Shape.UNDECIDED:
            self._decide_shape(is_end=True)
        if self.shape is Shape.EVENTS:
            yield from self._split_lines(is_end=True)
            yield from self._end_event()

    @property
    def document(self) -> str:
        """Return the text of a body that is no event stream, as far as it has arrived."""
        return "".join(self._parts)

    def _append(self, text: str) -> None:
        self._parts.append(text)
        self._characters += len(text)

    def _check_size(self) -> None:
        most = self._document_bytes_max if self.shape is Shape.DOCUMENT else self._event_bytes_max
        if self._characters > most:
            raise TooLong

    def _decide_shape(self, *, is_end: bool) -> None:
        start = self.document.lstrip()
        self._parts, self._characters = [start], len(start)
        if start.startswith(("{", "[")):
            self.shape = Shape.DOCUMENT
        elif _FIELD.match(start):
            self.shape = Shape.EVENTS
        elif is_end or len(start) >= _FIELD_CHARACTERS_MAX:
            self.shape = Shape.OTHER if start else Shape.EVENTS

    def _split_lines(self, *, is_end: bool) -> Iterator[Event]:
        text = self.document
        start = 0
        for end in _LINE_END.finditer(text):
            if end.end() == len(text) and end[0] == "\r" and not is_end:
                break  # a line feed may follow
            yield from self._take_line(text[start : end.start()])
            start = end.end()
        rest = text[start:]
        if is_end and rest:
            yield from self._take_line(rest)
            rest = ""
        self._parts, self._characters = [rest], len(rest)

    def _take_line(self, line: str) -> Iterator[Event]:
        if not line:
            yield from self._end_event()
            return
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
            self._data_characters += len(value)
            if self._data_characters > self._event_bytes_max:
                raise TooLong
        elif field == "event":
            self._name = value

    def _end_event(self) -> Iterator[Event]:
        name, data = self._name, "\n".join(self._data)
        self._name, self._data, self._data_characters = "", [], 0
        if data:  # an event without data, such as `retry: 3000`, is ignored (WHATWG HTML, 9.2.6)
            yield Event(name, data)
