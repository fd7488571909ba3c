"""The named model providers in the settings: JSON, or the path of a JSON file."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from domain.setting_types import Count, Secret
from engine.providers.answers.finish_reasons import Finish
from engine.providers.price_table import load_json
from engine.providers.scripted import NAME as SCRIPTED
from engine.providers.traits import JsonMode, OutputLimit

PROVIDERS_MAX: Final = 100

Reasoning = Literal["tags", "opened", "off"]
"""Where a text may contain reasoning: between tags, also without the opening tag, or nowhere."""

_Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,62}$(?!\n)")]
_HeaderName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$(?!\n)")]
_HeaderValue = Annotated[str, Meta(pattern=r"^[\x20-\x7e]{1,4096}$(?!\n)")]
_RESERVED: Final = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding"})
_KEY: Final = re.compile(r"[\x21-\x7e]+")


class ProviderEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One provider. Only `protocol` and `base_url` are required; defaults are those of OpenAI's and Anthropic's API.

    `key` or `key_file` (a file that holds only the key) may be absent for servers without keys; `key_header` is the
    header that carries the key in place of the protocol's own, such as `api-key`. `headers` are sent with each call.
    """

    protocol: Literal["chat_completions", "messages", "images"]
    base_url: Annotated[str, Meta(pattern=r"^https?://[^\s/?#@]+(?:[/?][^\s#]*)?$(?!\n)", max_length=2_048)]
    key: str | None = None
    key_file: str | None = None
    key_header: _HeaderName | None = None
    headers: Annotated[dict[_HeaderName, _HeaderValue], Meta(max_length=20)] = {}
    default_model: Annotated[str, Meta(pattern=r"^\S{1,200}$(?!\n)")] | None = None
    output_limit: OutputLimit | None = None
    output_tokens_default: Count = 8_192
    stream: bool = True
    stream_options: bool = True
    json_mode: JsonMode | None = None
    reasoning: Reasoning = "tags"
    finish_reasons: Annotated[dict[Annotated[str, Meta(max_length=64)], Finish], Meta(max_length=100)] = {}

    def __repr__(self) -> str:
        return f"ProviderEntry({self.protocol})"

    def load_key(self) -> Secret | None:
        """Return the key; None for a server without one. Raises ValueError, whose message does not contain it."""
        if self.key is not None and self.key_file is not None:
            raise ValueError("key and key_file exclude each other")
        text = self.key
        if self.key_file is not None:
            try:
                text = Path(self.key_file).read_text().strip()
            except (OSError, UnicodeError):
                raise ValueError(f"the key_file {self.key_file} cannot be read") from None
        if text is None:
            return None
        if not _KEY.fullmatch(text):
            raise ValueError("the key must be printable ASCII without spaces")
        return Secret(text)


_Table = Annotated[dict[_Name, ProviderEntry], Meta(max_length=PROVIDERS_MAX)]


class ProviderTable:
    """Providers by the name before the slash: `{"mistral": {"protocol": "chat_completions", "base_url": "https://…"}}`."""

    def __init__(self, text: str) -> None:
        """Parse the table, and read the key files. Raises ValueError with the reason, which contains no key."""
        try:
            encoded = load_json(text, "the file of model providers")
            self.entries: Mapping[str, ProviderEntry] = msgspec.json.decode(encoded, type=_Table)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise ValueError(f"the table of model providers is invalid: {error}") from None
        if SCRIPTED in self.entries:
            raise ValueError(f"the name {SCRIPTED} is reserved for the provider that calls no model")
        self.keys: Mapping[str, Secret | None] = {name: _load_key(name, entry) for name, entry in self.entries.items()}

    def __repr__(self) -> str:
        return f"ProviderTable({', '.join(self.entries)})"


def _load_key(name: str, entry: ProviderEntry) -> Secret | None:
    reserved = sorted(header for header in entry.headers if header.lower() in _RESERVED)
    if reserved:
        raise ValueError(f"{name}: the header {reserved[0]} cannot be set")
    try:
        return entry.load_key()
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
