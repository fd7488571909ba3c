"""Recognition of the one request that becomes a WebSocket (RFC 6455, section 4.2.1)."""

import re
from collections.abc import Iterable
from typing import Final

from callsheet.server.request_parser import Head, Header

PATH: Final = b"/v1/streams"
KEY: Final = re.compile(rb"[+/0-9A-Za-z]{22}==")
BODY_HEADERS: Final = frozenset({b"content-length", b"transfer-encoding"})


def is_websocket_request(head: Head) -> bool:
    """Return whether a request opens `/v1/streams`. `Upgrade` in any other request means nothing."""
    if not head.target.startswith(PATH):
        return False
    headers = head.headers
    return (
        head.method == b"GET"
        and head.version == "1.1"
        and head.target.partition(b"?")[0] == PATH
        and b"websocket" in _list_tokens(headers, b"upgrade")
        and b"upgrade" in _list_tokens(headers, b"connection")
        and list_values(headers, b"sec-websocket-version") == [b"13"]
        and find_key(headers) is not None
        and not any(name in BODY_HEADERS for name, _ in headers)
    )


def find_key(headers: Iterable[Header]) -> bytes | None:
    """Return `Sec-WebSocket-Key` if it is sent once and is 16 bytes in base64."""
    keys = list_values(headers, b"sec-websocket-key")
    return keys[0] if len(keys) == 1 and KEY.fullmatch(keys[0]) else None


def list_values(headers: Iterable[Header], name: bytes) -> list[bytes]:
    """Return the values of a header."""
    return [value for other, value in headers if other == name]


def _list_tokens(headers: Iterable[Header], name: bytes) -> list[bytes]:
    return [token.strip() for value in list_values(headers, name) for token in value.lower().split(b",")]
