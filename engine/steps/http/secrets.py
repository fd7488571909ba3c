"""Secrets of `http` steps: the hosts that each may go to, those that a request used, and how they are cut out."""

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from html import escape
from typing import Any, Final, cast
from urllib.parse import quote, quote_plus

import msgspec

from domain.expressions.liquid_secrets import SecretTexts
from engine.egress.allow_list import AllowList

SECRET_CHARACTERS_MIN: Final = 8
"""A shorter one could not be cut out of an answer without cutting up everything else."""
SHOWN_MAX: Final = 32
SHOWN_CHARACTERS_MAX: Final = 16 * 1024
"""What one request makes of secrets is looked for in its answer: ten thousand texts held the loop for half a minute."""
MARK: Final = "…"

_LEFT_AS_THEY_ARE: Final = (
    "",
    "/",
    "!'()*",  # encodeURIComponent
    "!#$&'()*+,/:;=?@",  # encodeURI
    "!$%&'()*+,/:;=@[\\]^|",  # our own paths, and below our own queries
    "!$%&'()*+,/:;=?@[\\]^`{|}",
)
"""What else than letters and digits is left as it is where a text is quoted for an address."""
_NOT_IN_SCRIPTS: Final = str.maketrans({sign: f"\\u{ord(sign):04x}" for sign in "<>&"})
_NOT_IN_PAGES: Final = str.maketrans({sign: f"\\u{ord(sign):04x}" for sign in "<>&'"})
_NUMBER: Final = re.compile(r"-?[0-9]{1,300}(?:\.[0-9]{1,300})?")
_ONE_BY_ONE: Final = str.maketrans({"Σ": "\u03c3", "ς": "\u03c3", "İ": "i"})
"""Small letters that depend on their neighbours, or are two."""


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
        """Return the value itself."""
        return self._value


class UsedSecrets(SecretTexts):
    """The secrets as templates see them: it remembers which were looked at, and what was made of them."""

    def __init__(self, secrets: Mapping[str, HttpSecret]) -> None:
        """Take all secrets; none is used yet."""
        self._secrets = secrets
        self.used: set[str] = set()
        self.shown: set[str] = set()
        self.showed_too_much = False

    def show(self, text: str) -> None:
        """Keep what was made of a secret, as far as there is room: it is cut out of answers too."""
        if text in self.shown:
            return
        if len(self.shown) == SHOWN_MAX or len(text) > SHOWN_CHARACTERS_MAX:
            self.showed_too_much = True
        else:
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
    """Cuts secrets out of texts and of JSON, also where they are quoted for a URL, in JSON, HTML or base64.

    Each form is looked for by itself, which takes time by the length of the text whatever the two are.
    """

    def __init__(self, secrets: Iterable[str], also: "Redactor | None" = None) -> None:
        """Take the values; what `also` cuts out is cut out too, and where they overlap both are."""
        forms = {
            _fold_case(form) for secret in secrets if len(secret) >= SECRET_CHARACTERS_MIN for form in _forms(secret)
        }
        self._forms: frozenset[str] = frozenset(forms) if also is None else also._forms | forms  # noqa: SLF001  # its like

    def text(self, text: str) -> str:
        """Return a text without secrets."""
        return _without(self._found_in(text), text)

    def json(self, value: Any) -> Any:  # noqa: ANN401  # JSON of any shape
        """Return a JSON value without secrets, in keys and numbers too. Raises RecursionError."""
        texts: list[str] = []
        _gather(value, texts)
        # In all texts at once: each of a hundred thousand short ones would be looked through for each form.
        found = self._found_in("\n".join(texts))
        return _json_without(found, value) if found else value

    def _found_in(self, text: str) -> list[str]:
        folded = _fold_case(text)
        return [form for form in self._forms if form in folded]


def _gather(value: Any, texts: list[str]) -> None:  # noqa: ANN401  # JSON of any shape
    match value:
        case str():
            texts.append(value)
        case list():
            for item in cast("list[Any]", value):
                _gather(item, texts)
        case dict():
            for name, item in cast("dict[str, Any]", value).items():
                texts.append(name)
                _gather(item, texts)
        case int() | float():
            texts.append(str(value))
        case _:
            pass


def _json_without(forms: list[str], value: Any) -> Any:  # noqa: ANN401  # JSON of any shape
    match value:
        case str():
            return _without(forms, value)
        case list():
            return [_json_without(forms, item) for item in cast("list[Any]", value)]
        case dict():
            its = cast("dict[str, Any]", value)
            return {_without(forms, name): _json_without(forms, item) for name, item in its.items()}
        case int() | float() if _without(forms, str(value)) != str(value):
            return MARK
        case _:
            return value


def _without(forms: list[str], text: str) -> str:
    if not forms or len(text) < SECRET_CHARACTERS_MIN:
        return text
    folded = _fold_case(text)
    kept: list[str] = []
    end = 0
    for start, stop in sorted(place for form in forms for place in _places(folded, form)):
        if start >= end:
            kept += (text[end:start], MARK)
        end = max(end, stop)
    return "".join((*kept, text[end:])) if kept else text


def _places(text: str, form: str) -> Iterator[tuple[int, int]]:
    start = text.find(form)
    while start >= 0:
        yield start, start + len(form)
        start = text.find(form, start + 1)


def _fold_case(text: str) -> str:
    """Return a text in small letters, each in its place."""
    return (text if text.isascii() else text.translate(_ONE_BY_ONE)).lower()


def _forms(secret: str) -> set[str]:
    coded = b64encode(secret.encode()).decode().rstrip("=")
    return {
        secret,
        secret.encode().decode("latin-1"),  # headers are read so
        *(quote(secret, safe=left) for left in _LEFT_AS_THEY_ARE),
        quote_plus(secret),
        escape(secret),
        escape(secret, quote=False),
        escape(secret, quote=False).replace('"', "&quot;"),
        escape(secret).replace("&quot;", "&#34;").replace("&#x27;", "&#39;"),
        *_in_json(secret),
        *(twice for once in _in_json(secret) for twice in _in_json(once)),
        coded,
        coded.replace("+", "-").replace("/", "_"),
        *_as_number(secret),
    }


def _in_json(text: str) -> set[str]:
    plain, in_ascii = msgspec.json.encode(text).decode()[1:-1], json.dumps(text)[1:-1]
    return {
        form
        for known in (plain, in_ascii)
        for form in (known, known.replace("/", "\\/"), known.translate(_NOT_IN_SCRIPTS), known.translate(_NOT_IN_PAGES))
    }


def _as_number(secret: str) -> set[str]:
    """Return what a number comes back as once JSON has rounded it: of 20 digits 17 are left."""
    if not _NUMBER.fullmatch(secret):
        return set()
    rounded = repr(float(secret))
    return {form for form in (rounded, f"{Decimal(rounded):f}") if len(form) >= SECRET_CHARACTERS_MIN}
