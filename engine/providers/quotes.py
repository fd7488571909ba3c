"""Quote what a model server said in a message that is recorded and shown: on one line, bounded, and without secrets."""

import re
from collections.abc import Iterable
from typing import Final

from engine.egress.http_errors import shorten_quote
from engine.steps.http.secrets import MARK, SECRET_CHARACTERS_MIN, Redactor

PART_CHARACTERS_MIN: Final = 6
"""A word that shares this many characters in a row with a secret is removed: servers quote the ends of keys."""
SEARCHED_CHARACTERS_MAX: Final = 8 * 1024

_MASKED: Final = re.compile(r"\S*(?:\*{2,}|[•·]{2,})\S*")
_KEY: Final = re.compile(
    r"\b(?:(?:sk|pk|rk|xai|pplx|nvapi)-|(?:gsk|hf|r8)_|AIza|Bearer\s+)[^\s,;'\"]{4,}", re.IGNORECASE
)
_WORD: Final = re.compile(r"[^\s,;:'\"()<>]+")


class Quotes:
    """Cleans quotes of the secrets of one provider: its key, and what its base URL and headers contain."""

    def __init__(self, secrets: Iterable[str]) -> None:
        """Create it for these secrets."""
        known = [secret for secret in secrets if secret]
        self._redactor = Redactor(secret for secret in known if len(secret) >= SECRET_CHARACTERS_MIN)
        self._short = [secret for secret in known if len(secret) < SECRET_CHARACTERS_MIN]
        self._parts = frozenset(
            secret[start : start + PART_CHARACTERS_MIN]
            for secret in known
            if len(secret) >= 2 * PART_CHARACTERS_MIN
            for start in range(len(secret) - PART_CHARACTERS_MIN + 1)
        )

    def clean(self, text: str) -> str:
        """Return a text without secrets and without whatever looks like the key of a model server."""
        cleaned = self._redactor.text(text[:SEARCHED_CHARACTERS_MAX])
        for secret in self._short:
            cleaned = cleaned.replace(secret, MARK)
        cleaned = _KEY.sub(MARK, _MASKED.sub(MARK, cleaned))
        return _WORD.sub(lambda word: MARK if self._has_part(word[0]) else word[0], cleaned)

    def quote(self, text: str) -> str:
        """Return a text on one line, without secrets, cut to the length that a message may quote."""
        return shorten_quote(self.clean(text))

    def _has_part(self, word: str) -> bool:
        ends = range(PART_CHARACTERS_MIN, len(word) + 1)
        return bool(self._parts) and any(word[end - PART_CHARACTERS_MIN : end] in self._parts for end in ends)
