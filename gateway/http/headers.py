"""Request headers as one mapping, and the checks of those that may be sent once only."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from gateway.http.rejections import Malformed

Headers = Mapping[bytes, bytes]
Line = tuple[bytes, bytes]

HOST: Final = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
SINGLE: Final[Mapping[bytes, str]] = {
    name.lower().encode(): name
    for name in (
        "Authorization",
        "Callsheet-Min-Position",
        "Content-Encoding",
        "Content-Type",
        "Idempotency-Key",
        "Last-Event-ID",
        "Origin",
    )
}
"""Headers of which two lines contradict each other: which one counts would be a guess."""


def combine_headers(lines: Sequence[Line]) -> Headers:
    """Return headers by name; those sent on several lines are joined by commas (RFC 9110, section 5.3)."""
    headers = dict(lines)
    if len(headers) == len(lines):
        return headers
    return {name: b", ".join(value for other, value in lines if other == name) for name in headers}


def check_repeated(lines: Sequence[Line], headers: Headers) -> None:
    """Raise Malformed for a header on several lines that may be sent once."""
    if len(headers) == len(lines):
        return
    seen: set[bytes] = set()
    for name, _ in lines:
        if name in seen and name in SINGLE:
            raise Malformed(f"`{SINGLE[name]}` must be sent once.")
        seen.add(name)


@lru_cache(maxsize=64)
def is_valid_host(host: bytes) -> bool:
    """Return whether `Host` is a host with an optional port (RFC 3986, section 3.2.2)."""
    return HOST.fullmatch(host) is not None


def check_host(headers: Headers) -> None:
    """Raise Malformed unless `Host`, if it is sent, is valid."""
    host = headers.get(b"host")
    if host is not None and not is_valid_host(host):
        raise Malformed("`Host` must be a host name or an IP address, with an optional port.")
