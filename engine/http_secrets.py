"""Secrets of `http` steps: the hosts that each may go to, those that a request used, and how they are cut out."""

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any, Final, cast
from urllib.parse import quote, quote_plus

import msgspec

from domain.expressions_secrets import SecretTexts
from engine.allow_list import AllowList

SECRET_CHARACTERS_MIN: Final = 8
"""A shorter one could not be cut out of an answer without cutting up everything else."""
MARK: Final = "…"


class HttpSecret:
    """A value that no `repr` shows, and the hosts that it may be sent to; None: to any."""

    __slots__ = ("_value", "hosts")

    def __init__(self, value: str, hosts: AllowList | None) -> None:
        """Keep the value. Raises ValueError when it is too short, or could not stand in a header."""
        if len(value) < SECRET_CHARACTERS_MIN:
            raise ValueError(f"a secret has at least {SECRET_CHARACTERS_MIN} characters")
        if not value.isprintable() or value != value.strip():
            raise ValueError("a secret has no line breaks, no control characters, and no spaces around it")
        self._value = value
        self.hosts = hosts

    def __repr__(self) -> str:
        return "HttpSecret(...)"

    def reveal(self) -> str:
        """Give the value itself."""
        return self._value


class UsedSecrets(SecretTexts):
    """The secrets as templates see them: it remembers which were looked at, and what was made of them."""

    def __init__(self, secrets: Mapping[str, HttpSecret]) -> None:
        """Take all secrets; none is used yet."""
        self._secrets = secrets
        self.used: set[str] = set()
        self.shown: set[str] = set()

    def show(self, text: str) -> None:
        """Keep what an output with a secret in it came to: it is cut out of answers too."""
        self.shown.add(text)

    def __getitem__(self, name: str) -> str:
        value = self._secrets[name].reveal()
        self.used.add(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._secrets)

    def __len__(self) -> int:
        return len(self._secrets)

    def __repr__(self) -> str:
        return f"secrets: {', '.join(sorted(self._secrets))}"


class Redactor:
    """Cuts secrets out of texts and of JSON, also where they are quoted for a URL, in JSON, HTML or base64."""

    def __init__(self, secrets: Iterable[str], after: "Redactor | None" = None) -> None:
        """Take the values; all of them are cut out, the longest first. What `after` cuts out is cut out before."""
        forms = {form for secret in secrets if len(secret) >= SECRET_CHARACTERS_MIN for form in _forms(secret)}
        longest_first = sorted(forms, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE) if forms else None
        self._after = after

    def text(self, text: str) -> str:
        """Give a text without secrets."""
        left = text if self._after is None else self._after.text(text)
        return left if self._pattern is None else self._pattern.sub(MARK, left)

    def json(self, value: Any) -> Any:  # noqa: ANN401  # JSON of any shape
        """Give a JSON value without secrets, in keys and numbers too. Raises RecursionError."""
        match value:
            case str():
                return self.text(value)
            case list():
                return [self.json(item) for item in cast("list[Any]", value)]
            case dict():
                return {self.text(name): self.json(item) for name, item in cast("dict[str, Any]", value).items()}
            case int() | float() if self.text(str(value)) != str(value):
                return MARK
            case _:
                return value


def _forms(secret: str) -> set[str]:
    in_json = msgspec.json.encode(secret).decode()[1:-1]
    return {
        secret,
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        escape(secret),
        in_json,
        msgspec.json.encode(in_json).decode()[1:-1],
        b64encode(secret.encode()).decode(),
    }
