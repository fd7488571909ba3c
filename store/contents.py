"""The content store: values too large for a fact, by workspace and SHA-256; written before the fact refers to them."""

import hashlib
import hmac
import re
from typing import Any, Final, Protocol
from uuid import UUID

import msgspec

from domain.payload import INLINE_BYTES, Payload
from store.errors import ContentMissing, ContentTooLarge
from store.log.json_encoding import encode_shallow, outgrows
from store.postgres.connections import Sessions

JSON: Final = "application/json"
CONTENT_BYTES_MAX: Final = 16 * 1024 * 1024
REFERENCE: Final = re.compile("(?:hmac-)?sha256:([0-9a-f]{64})")
KEYED: Final = "hmac-"
"""Begins the reference of a content whose digest is keyed: guesses cannot be confirmed without the key."""

PUT: Final = """
insert into contents (workspace_id, sha256, media_type, bytes) values (%b, %b, %b, %b)
on conflict (workspace_id, sha256) do nothing
"""
"""Insert a content, unless the workspace has it already; durable when the statement returns."""

GET: Final = "select bytes, media_type from contents where workspace_id = %b and sha256 = %b"
"""Read a content of a workspace."""


class ContentStore(Protocol):
    """The port to stored contents, which never change."""

    async def put(self, workspace_id: UUID, content: bytes, media_type: str, digest_key: bytes | None = None) -> str:
        """Keep a content durably and return its reference; the first media type stands.

        The reference is `sha256:<64 hex digits>`, with a `digest_key` `hmac-sha256:<64 hex digits>`. Raises
        ContentTooLarge, Unavailable.
        """
        ...

    async def get(self, workspace_id: UUID, reference: str) -> tuple[bytes, str]:
        """Return a content and its media type. Raises ContentMissing, Unavailable."""
        ...


class PostgresContents:
    """The content store in the log's own database."""

    def __init__(self, sessions: Sessions, *, content_bytes_max: int = CONTENT_BYTES_MAX) -> None:
        """Create the store; `content_bytes_max` limits the size of one content."""
        self._sessions = sessions
        self._content_bytes_max = content_bytes_max

    async def put(self, workspace_id: UUID, content: bytes, media_type: str, digest_key: bytes | None = None) -> str:
        """Keep a content (see ContentStore)."""
        if len(content) > self._content_bytes_max:
            raise ContentTooLarge(len(content), self._content_bytes_max)
        kind, digest = "", hashlib.sha256(content).digest()
        if digest_key is not None:
            kind, digest = KEYED, hmac.digest(digest_key, content, hashlib.sha256)
        await self._sessions.run(PUT, (workspace_id, digest, media_type, content))
        return f"{kind}sha256:{digest.hex()}"

    async def get(self, workspace_id: UUID, reference: str) -> tuple[bytes, str]:
        """Return a content (see ContentStore)."""
        parsed = REFERENCE.fullmatch(reference)
        row = None if parsed is None else await self._sessions.one(GET, (workspace_id, bytes.fromhex(parsed[1])))
        if row is None:
            raise ContentMissing(reference)
        return row[0], row[1]


def inline(value: object) -> Payload | None:
    """Return a payload that holds the JSON value itself; None if it is too large for a fact.

    Raises TooDeep, UnstorableText.
    """
    if outgrows(value, INLINE_BYTES):
        return None
    return Payload(value=value) if len(encode_shallow(value)) <= INLINE_BYTES else None


async def keep(contents: ContentStore, workspace_id: UUID, value: object) -> Payload:
    """Return a payload: with the JSON value itself if it is small, else with a reference to the stored content.

    Raises ContentTooLarge, TooDeep, Unavailable, UnstorableText.
    """
    encoded = encode_content(value)
    if len(encoded) <= INLINE_BYTES:
        return Payload(value=value)
    return await keep_encoded(contents, workspace_id, encoded)


def encode_content(value: object) -> bytes:
    """Return a JSON value as a content. Raises ContentTooLarge, TooDeep, UnstorableText."""
    if outgrows(value, CONTENT_BYTES_MAX):
        raise ContentTooLarge(None, CONTENT_BYTES_MAX)
    return encode_shallow(value)


async def keep_encoded(contents: ContentStore, workspace_id: UUID, encoded: bytes) -> Payload:
    """Return a payload that refers to an encoded content. Raises ContentTooLarge, Unavailable."""
    reference = await contents.put(workspace_id, encoded, JSON)
    return Payload(ref=reference, bytes=len(encoded), media_type=JSON)


async def read_encoded(contents: ContentStore, workspace_id: UUID, payload: Payload) -> bytes:
    """Return the JSON text of a payload. Raises ContentMissing, Unavailable."""
    if payload.ref is None:
        return encode_shallow(payload.value)
    content, _ = await contents.get(workspace_id, payload.ref)
    return content


async def resolve(contents: ContentStore, workspace_id: UUID, payload: Payload) -> Any:  # noqa: ANN401  # JSON
    """Return the JSON value of a payload. Raises ContentMissing, Unavailable."""
    if payload.ref is None:
        return payload.value
    content, _ = await contents.get(workspace_id, payload.ref)
    return msgspec.json.decode(content)
