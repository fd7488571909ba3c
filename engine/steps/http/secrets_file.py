"""The file of the secrets that `http` steps may send, each with the hosts that it is for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from engine.egress.allow_list import AllowList
from engine.steps.http.secrets import HttpSecret

BYTES_MAX: Final = 1024 * 1024
SECRETS_MAX: Final = 1_000
ANY_HOST: Final = ["*"]

_Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,62}$(?!\n)")]


class _Entry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    value: str
    hosts: Annotated[list[str], Meta(min_length=1, max_length=100)]

    def __repr__(self) -> str:
        return "_Entry(...)"


class SecretsFile:
    """Secrets by name: `{"crm_token": {"value": "...", "hosts": ["api.crm.example"]}}`; `["*"]` is any host."""

    def __init__(self, path: str) -> None:
        """Read the file. Raises ValueError, which names what cannot be used and repeats no value."""
        try:
            if Path(path).stat().st_size > BYTES_MAX:
                raise ValueError(f"the file {path} is larger than {BYTES_MAX} bytes")
            text = Path(path).read_bytes()
            entries = msgspec.json.decode(text, type=Annotated[dict[_Name, _Entry], Meta(max_length=SECRETS_MAX)])
        except OSError as wrong:
            raise ValueError(f"the file {path} cannot be read: {wrong.strerror}") from None
        except (msgspec.MsgspecError, UnicodeError) as wrong:
            raise ValueError(f"the file {path} cannot be used: {wrong}") from None
        self.secrets: Mapping[str, HttpSecret] = {name: _read(name, entry) for name, entry in entries.items()}

    def __repr__(self) -> str:
        return f"SecretsFile({', '.join(self.secrets)})"


def _read(name: str, entry: _Entry) -> HttpSecret:
    try:
        hosts = None if entry.hosts == ANY_HOST else AllowList(",".join(entry.hosts))
        return HttpSecret(entry.value, hosts)
    except ValueError as wrong:
        raise ValueError(f"{name}: {wrong}") from None
