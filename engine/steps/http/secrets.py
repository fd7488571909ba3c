"""Secrets of `http` steps: the hosts each may be sent to, which ones a request used, and their redaction."""

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
"""Shorter secrets cannot be redacted without redacting much of the rest of a response."""
SHOWN_MAX: Final = 32
SHOWN_CHARACTERS_MAX: Final = 16 * 1024
"""Limit of texts that one request makes from secrets: searching a response for 10,000 blocked the loop for 30 s."""
MARK: Final = "…"

_UNQUOTED: Final = (
    "",
    "/",
    "!'()*",  # encodeURIComponent
    "!#$&'()*+,/:;=?@",  # encodeURI
    "!$%&'()*+,/:;=@[\\]^|",  # paths of httpx2; the next line: its queries
    "!$%&'()*+,/:;=?@[\\]^`{|}",
)
"""Characters, besides letters and digits, that the usual URL encoders do not quote."""
_SCRIPT_ESCAPES: Final = str.maketrans({sign: f"\\u{ord(sign):04x}" for sign in "<>&"})
_HTML_ESCAPES: Final = str.maketrans({sign: f"\\u{ord(sign):04x}" for sign in "<>&'"})
_NUMBER: Final = re.compile(r"-?[0-9]{1,300}(?:\.[0-9]{1,300})?")
_LOWER_SPECIAL: Final = str.maketrans({"Σ": "\u03c3", "ς": "\u03c3", "İ": "i"})
"""Lower-case forms that depend on neighbours or are longer, replaced so that positions stay the same."""


class HttpSecret:
    """A value hidden from `repr`, and the hosts it may be sent to (None: any host)."""

    __slots__ = ("_value", "hosts")

    def __init__(self, value: str, hosts: AllowList | None) -> None:
        """Create it. Raises ValueError for a value that is too short or not allowed in a header."""
        if len(value) < SECRET_CHARACTERS_MIN:
            raise ValueError(f"the value of a secret must have at least {SECRET_CHARACTERS_MIN} characters")
        if not value.isprintable() or value != value.strip():
            raise ValueError(
                "the value of a secret must contain no line breaks or control characters, and no spaces at its ends"
            )
        self._value = value
        self.hosts = hosts

    def __repr__(self) -> str:
        return "HttpSecret(...)"

    def reveal(self) -> str:
        """Return the value."""
        return self._value


class UsedSecrets(SecretTexts):
    """The secrets as templates see them; records which were read, and the texts made from them."""

    def __init__(self, secrets: Mapping[str, HttpSecret]) -> None:
        """Create it with no secret used."""
        self._secrets = secrets
        self.used: set[str] = set()
        self.shown: set[str] = set()
        self.showed_too_much = False

    def show(self, text: str) -> None:
        """Record a text made from a secret, which is redacted too; sets `showed_too_much` beyond the limits."""
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
    """Removes secrets from texts and JSON, also when they are encoded for a URL, JSON, HTML or base64.

    Each encoded form is searched for separately: the time depends on the length of the text, not on its content.
    """

    def __init__(self, secrets: Iterable[str], also: "Redactor | None" = None) -> None:
        """Create it for these values and for everything that `also` removes."""
        forms = {
            _fold_case(form)
            for secret in secrets
            if len(secret) >= SECRET_CHARACTERS_MIN
            for form in _encode_forms(secret)
        }
        self._forms: frozenset[str] = frozenset(forms) if also is None else also._forms | forms  # noqa: SLF001  # same class

    def text(self, text: str) -> str:
        """Return a text without secrets."""
        return _redact(self._find_forms(text), text)

    def json(self, value: Any) -> Any:  # noqa: ANN401  # JSON of any shape
        """Return a JSON value without secrets, in keys and numbers too. Raises RecursionError."""
        texts: list[str] = []
        _gather(value, texts)
        # Search all texts joined: searching 100,000 short ones for each form was slow.
        found = self._find_forms("\n".join(texts))
        return _redact_json(found, value) if found else value

    def _find_forms(self, text: str) -> list[str]:
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


def _redact_json(forms: list[str], value: Any) -> Any:  # noqa: ANN401  # JSON of any shape
    match value:
        case str():
            return _redact(forms, value)
        case list():
            return [_redact_json(forms, item) for item in cast("list[Any]", value)]
        case dict():
            its = cast("dict[str, Any]", value)
            return {_redact(forms, name): _redact_json(forms, item) for name, item in its.items()}
        case int() | float() if _redact(forms, str(value)) != str(value):
            return MARK
        case _:
            return value


def _redact(forms: list[str], text: str) -> str:
    if not forms or len(text) < SECRET_CHARACTERS_MIN:
        return text
    folded = _fold_case(text)
    kept: list[str] = []
    end = 0
    for start, stop in sorted(place for form in forms for place in _find_spans(folded, form)):
        if start >= end:
            kept += (text[end:start], MARK)
        end = max(end, stop)
    return "".join((*kept, text[end:])) if kept else text


def _find_spans(text: str, form: str) -> Iterator[tuple[int, int]]:
    start = text.find(form)
    while start >= 0:
        yield start, start + len(form)
        start = text.find(form, start + 1)


def _fold_case(text: str) -> str:
    """Return a text in lower case, with each character at its old position."""
    return (text if text.isascii() else text.translate(_LOWER_SPECIAL)).lower()


def _encode_forms(secret: str) -> set[str]:
    coded = b64encode(secret.encode()).decode().rstrip("=")
    return {
        secret,
        secret.encode().decode("latin-1"),  # headers are decoded as Latin-1
        *(quote(secret, safe=left) for left in _UNQUOTED),
        quote_plus(secret),
        escape(secret),
        escape(secret, quote=False),
        escape(secret, quote=False).replace('"', "&quot;"),
        escape(secret).replace("&quot;", "&#34;").replace("&#x27;", "&#39;"),
        *_encode_json_forms(secret),
        *(twice for once in _encode_json_forms(secret) for twice in _encode_json_forms(once)),
        coded,
        coded.replace("+", "-").replace("/", "_"),
        *_round_number(secret),
    }


def _encode_json_forms(text: str) -> set[str]:
    plain, in_ascii = msgspec.json.encode(text).decode()[1:-1], json.dumps(text)[1:-1]
    return {
        form
        for known in (plain, in_ascii)
        for form in (known, known.replace("/", "\\/"), known.translate(_SCRIPT_ESCAPES), known.translate(_HTML_ESCAPES))
    }


def _round_number(secret: str) -> set[str]:
    """Return the forms of a numeric secret after a round trip through a JSON float, which keeps 17 digits."""
    if not _NUMBER.fullmatch(secret):
        return set()
    rounded = repr(float(secret))
    return {form for form in (rounded, f"{Decimal(rounded):f}") if len(form) >= SECRET_CHARACTERS_MIN}
