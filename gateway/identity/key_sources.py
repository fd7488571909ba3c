"""Sources of an issuer's keys: OpenID Connect Discovery, a URL, or a file."""

import asyncio
from pathlib import Path
from typing import Final, Protocol

import httpx2
import msgspec
from msgspec import Struct

from gateway.identity.issuers import Issuer, check_key_url
from gateway.identity.key_set import KeysUnreadable

DISCOVERY_PATH: Final = "/.well-known/openid-configuration"


class KeysUnreachable(Exception):  # noqa: N818  # the issuer's fault: what was fetched before stays in use
    """The keys cannot be fetched."""


class KeySource(Protocol):
    """A place with the keys of an issuer."""

    async def fetch(self) -> bytes:
        """Return a JWK Set as it is published. Raises KeysUnreachable, KeysUnreadable."""
        ...


class FileKeys(Struct, frozen=True):
    """Keys in a file, for closed networks. It is read again at every refresh."""

    path: str
    bytes_max: int

    async def fetch(self) -> bytes:
        """Read the file, in a thread: it may be on a network drive."""
        return await asyncio.to_thread(self._read)

    def _read(self) -> bytes:
        try:
            with Path(self.path).open("rb") as file:
                content = file.read(self.bytes_max + 1)
        except OSError as fault:
            raise KeysUnreachable(f"{self.path}: {fault.strerror}") from fault
        if len(content) > self.bytes_max:
            raise KeysUnreadable(f"{self.path} is larger than {self.bytes_max} bytes")
        return content


class UrlKeys(Struct, frozen=True):
    """Keys at a URL."""

    client: httpx2.AsyncClient
    url: str
    bytes_max: int

    async def fetch(self) -> bytes:
        """Fetch the document."""
        return await fetch_document(self.client, self.url, self.bytes_max)


class DiscoveryDocument(Struct, frozen=True):
    """Fields that are read of the metadata of an OpenID provider (OpenID Connect Discovery 1.0, section 3)."""

    issuer: str
    jwks_uri: str


class DiscoveredKeys(Struct, frozen=True):
    """Keys at the URL that the issuer's metadata names."""

    client: httpx2.AsyncClient
    issuer: str
    bytes_max: int

    async def fetch(self) -> bytes:
        """Fetch the metadata, then the keys. The metadata must be of this very issuer."""
        content = await fetch_document(self.client, self.issuer.rstrip("/") + DISCOVERY_PATH, self.bytes_max)
        try:
            document = msgspec.json.decode(content, type=DiscoveryDocument)
        except (msgspec.MsgspecError, UnicodeError) as fault:
            raise KeysUnreadable(f"the metadata of {self.issuer} is invalid: {fault}") from fault
        if document.issuer != self.issuer:
            raise KeysUnreadable(f"the metadata of {self.issuer} names another issuer: {document.issuer[:200]}")
        try:
            check_key_url(document.jwks_uri)
        except ValueError as fault:
            raise KeysUnreadable(str(fault)) from fault
        return await fetch_document(self.client, document.jwks_uri, self.bytes_max)


async def fetch_document(client: httpx2.AsyncClient, url: str, bytes_max: int) -> bytes:
    """Return the body of a successful response. Redirects are not followed. Raises KeysUnreachable, KeysUnreadable."""
    content = b""
    try:
        async with client.stream("GET", url, headers={"accept": "application/json"}) as response:
            if not response.is_success:
                raise KeysUnreachable(f"{url} responded with status {response.status_code}")
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > bytes_max:
                    raise KeysUnreadable(f"{url} returned more than {bytes_max} bytes")
    except (httpx2.HTTPError, httpx2.InvalidURL) as fault:
        raise KeysUnreachable(f"{url}: {type(fault).__name__}") from fault
    return content


def create_key_source(issuer: Issuer, client: httpx2.AsyncClient, bytes_max: int) -> KeySource:
    """Return the source that the settings of an issuer name."""
    if issuer.jwks_file is not None:
        return FileKeys(issuer.jwks_file, bytes_max)
    if issuer.jwks_url is not None:
        return UrlKeys(client, issuer.jwks_url, bytes_max)
    return DiscoveredKeys(client, issuer.issuer, bytes_max)
