"""Separate a model's reasoning from its answer, where a server writes both into one text.

Reasoning models write `<think>…</think>` before the answer; servers that do not know the model's template pass that on.
"""

import re
from typing import Final

from msgspec import Struct

_TAGS: Final = (
    *((f"<{name}>", f"</{name}>") for name in ("think", "thinking", "thought", "thoughts", "reasoning", "seed:think")),
    ("[think]", "[/think]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
)
"""The tags around reasoning, in lower case: opening and closing."""
_CLOSING_ALONE: Final = ("</think>", "[/think]", "◁/think▷")
"""Tags that some models close without having opened them, because the prompt's template ends with the opening tag."""


class Split(Struct, frozen=True):
    """A piece of text: what of it belongs to the answer, and what to the reasoning."""

    answer: str = ""
    reasoning: str = ""


class ThoughtSplitter:
    """Splits a text that arrives in pieces. Only reasoning in front of the answer is recognised.

    `is_opened`: the text begins with reasoning, and has no opening tag.
    """

    def __init__(self, *, is_opened: bool = False) -> None:
        """Create it for the beginning of a text."""
        self._has_begun = False
        self._closing = _CLOSING_ALONE[0] if is_opened else ""
        self._held = ""
        self._is_after_reasoning = False

    def feed(self, text: str) -> Split:
        """Return what is decided by this piece; the rest is held until more arrives."""
        if self._has_begun:
            return Split(answer=text)
        self._held += text
        reasoning = ""
        while True:
            if self._closing:
                reasoning += self._take_reasoning()
                if self._closing:
                    return Split(reasoning=reasoning)
            answer = self._take_beginning()
            if not self._closing:
                return Split(answer, reasoning)

    def finish(self) -> Split:
        """Return what is still held at the end of the text."""
        held, self._held = self._held, ""
        if self._closing:
            return Split(reasoning=held)
        return Split(answer="" if self._is_after_reasoning and not held.strip() else held)

    def _take_beginning(self) -> str:
        """Return the held text if it begins the answer; empty while it may still be an opening tag."""
        start = self._held.lstrip()
        for opening, closing in _TAGS:
            if start[: len(opening)].lower() == opening:
                self._closing = closing
                self._held = start[len(opening) :]
                return ""
        if any(opening.startswith(start.lower()) for opening, _ in _TAGS):
            return ""
        answer, self._held = (start if self._is_after_reasoning else self._held), ""
        self._has_begun = True
        return answer

    def _take_reasoning(self) -> str:
        """Return the reasoning up to the closing tag, or as far as no closing tag can begin in it."""
        found = re.search(re.escape(self._closing), self._held, re.IGNORECASE)  # lower() may change positions
        if found is None:
            kept = _count_begun(self._held, self._closing)
            reasoning, self._held = self._held[: len(self._held) - kept], self._held[len(self._held) - kept :]
            return reasoning
        reasoning, self._held = self._held[: found.start()], self._held[found.end() :]
        self._closing, self._is_after_reasoning = "", True
        return reasoning


def split_unopened(text: str) -> Split:
    """Split a whole text whose reasoning was closed at the end of a line, but never opened."""
    for closing in _CLOSING_ALONE:
        found = re.search(rf"{re.escape(closing)}[ \t\r]*(?:\n|$)", text, re.IGNORECASE)
        if found is not None and closing.replace("/", "", 1) not in text[: found.start()].lower():
            return Split(answer=text[found.end() :].lstrip(), reasoning=text[: found.start()])
    return Split(answer=text)


def _count_begun(text: str, tag: str) -> int:
    """Return how many characters at the end of a text may be the beginning of a tag."""
    for count in range(min(len(tag) - 1, len(text)), 0, -1):
        if tag.startswith(text[-count:].lower()):
            return count
    return 0
