"""The text of an API key: `cs_live_<id>_<secret>_<checksum>`, so that scanners find leaked ones by pattern."""

import hashlib
import hmac
import re
import zlib
from typing import Final
from uuid import UUID

from msgspec import Struct

from domain.ids import from_uuid, to_uuid

PREFIX: Final = "cs_live_"
PATTERN: Final = re.compile(r"cs_live_([0-9a-hjkmnp-tv-z]{26})_([0-9A-Za-z]{43})_([0-9A-Za-z]{6})")
DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
SECRET_BYTES: Final = 32
SECRET_LENGTH: Final = 43
CHECKSUM_LENGTH: Final = 6


class ApiKeyText(Struct, frozen=True):
    """The parts of an API key."""

    key_id: UUID
    secret: str

    def __repr__(self) -> str:
        return f"ApiKeyText({self.key_id}, ...)"


def encode_secret(random_bytes: bytes) -> str:
    """Return 32 random bytes as the secret of an API key."""
    return _encode(int.from_bytes(random_bytes, "big"), SECRET_LENGTH)


def format_api_key(key_id: UUID, secret: str) -> str:
    """Return the text of an API key."""
    body = f"{PREFIX}{from_uuid('key', key_id).removeprefix('key_')}_{secret}"
    return f"{body}_{_compute_checksum(body)}"


def parse_api_key(text: str) -> ApiKeyText | None:
    """Return the parts of an API key, None if it is mistyped: the checksum tells without a look-up."""
    found = PATTERN.fullmatch(text)
    if found is None or _compute_checksum(text.rpartition("_")[0]) != found[3]:
        return None
    try:
        return ApiKeyText(to_uuid("key", f"key_{found[1]}"), found[2])
    except ValueError:
        return None


def hash_secret(secret: str) -> str:
    """Return what is stored of a secret. It has 256 random bits, so that a fast hash without salt suffices."""
    return hashlib.sha256(secret.encode()).hexdigest()


def is_secret_of(secret: str, stored_hash: str) -> bool:
    """Compare a secret with a stored hash, in constant time."""
    return hmac.compare_digest(hash_secret(secret), stored_hash)


def _compute_checksum(body: str) -> str:
    return _encode(zlib.crc32(body.encode()), CHECKSUM_LENGTH)


def _encode(number: int, length: int) -> str:
    text = ""
    for _ in range(length):
        number, digit = divmod(number, len(DIGITS))
        text = DIGITS[digit] + text
    return text
