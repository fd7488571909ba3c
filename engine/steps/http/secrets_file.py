"""Read the file of secrets for `http` steps."""

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
        """Read the file. Raises ValueError, whose message contains no value."""
        try:
            if Path(path).stat().st_size > BYTES_MAX:
                raise ValueError(f"the secrets file {path} is too large. Limit: {BYTES_MAX} bytes")
            text = Path(path).read_bytes()
            entries = msgspec.json.decode(text, type=Annotated[dict[_Name, _Entry], Meta(max_length=SECRETS_MAX)])
        except OSError as error:
            raise ValueError(f"the secrets file {path} cannot be read: {error.strerror}") from None
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise ValueError(f"the secrets file {path} is invalid: {error}") from None
        self.secrets: Mapping[str, HttpSecret] = {name: _build_secret(name, entry) for name, entry in entries.items()}

    def __repr__(self) -> str:
        return f"SecretsFile({', '.join(self.secrets)})"


def _build_secret(name: str, entry: _Entry) -> HttpSecret:
    try:
        hosts = None if entry.hosts == ANY_HOST else AllowList(",".join(entry.hosts))
        return HttpSecret(entry.value, hosts)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
