"""Answers of models that are being written in this process, for those who join late."""

from collections.abc import Iterator
from typing import Final
from uuid import UUID

from msgspec import Struct

TEXT_CHARACTERS_MAX: Final = 256 * 1024
"""Characters of one answer that are kept; of a longer one its end."""
ALL_CHARACTERS_MAX: Final = 16 * 1024 * 1024
"""Characters that are kept in total; beyond it an answer that goes on keeps its latest piece only."""


class TextKey(Struct, frozen=True, kw_only=True):
    """An answer of a model: the call (from 1) of one attempt of a step; a repair is a further call."""

    node: str
    attempt: int
    call: int = 1


class WrittenText(Struct, kw_only=True):
    """The end of an answer so far; it begins `start` characters after the beginning of the answer."""

    start: int = 0
    length: int = 0
    pieces: list[str] = []

    @property
    def end(self) -> int:
        """Return how many characters were written so far."""
        return self.start + self.length


class WrittenTexts:
    """The answers that are being written, within bounds, until their steps end."""

    def __init__(self) -> None:
        """Create it without answers."""
        self._by_run: dict[UUID, dict[TextKey, WrittenText]] = {}
        self._characters = 0

    def __len__(self) -> int:
        """Return the number of answers."""
        return sum(map(len, self._by_run.values()))

    def append(self, run_id: UUID, key: TextKey, piece: str) -> int:
        """Append a piece to an answer and return how many characters were written before it."""
        text = self._by_run.setdefault(run_id, {}).setdefault(key, WrittenText())
        offset = text.end
        text.pieces.append(piece)
        text.length += len(piece)
        self._characters += len(piece)
        if self._characters > ALL_CHARACTERS_MAX:
            self._cut(text, len(piece))
        elif text.length > TEXT_CHARACTERS_MAX:
            self._cut(text, TEXT_CHARACTERS_MAX // 2)
        return offset

    def _cut(self, text: WrittenText, kept: int) -> None:
        """Keep the last characters of an answer."""
        whole = "".join(text.pieces)
        cut = max(0, len(whole) - kept)
        text.pieces = [whole[cut:]]
        text.start += cut
        text.length -= cut
        self._characters -= cut

    def end(self, run_id: UUID, *, node: str, attempt: int) -> None:
        """Forget the answers of an attempt: from now on the log has them."""
        texts = self._by_run.get(run_id, {})
        for key in [key for key in texts if (key.node, key.attempt) == (node, attempt)]:
            self._characters -= texts.pop(key).length
        if not texts:
            self._by_run.pop(run_id, None)

    def list_texts(self, run_id: UUID) -> Iterator[tuple[TextKey, int, str]]:
        """Yield each answer of a run with the number of characters before what is kept of it."""
        for key, text in self._by_run.get(run_id, {}).items():
            yield key, text.start, "".join(text.pieces)
