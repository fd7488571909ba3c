"""Request headers as one mapping, and the check of `Host`."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from gateway.http.rejections import Malformed

Headers = Mapping[bytes, bytes]

HOST: Final = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


def combine_headers(lines: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Return headers by name; those sent on several lines are joined by commas (RFC 9110, section 5.3).

    A header that may be sent once, such as `Idempotency-Key`, is thereby malformed when it is sent twice.
    """
    pairs = list(lines)
    headers = dict(pairs)
    if len(headers) == len(pairs):
        return headers
    return {name: b", ".join(value for other, value in pairs if other == name) for name in headers}


@lru_cache(maxsize=64)
def is_valid_host(host: bytes) -> bool:
    """Return whether `Host` is a host with an optional port (RFC 3986, section 3.2.2)."""
    return HOST.fullmatch(host) is not None


def check_host(headers: Headers) -> None:
    """Raise Malformed unless `Host`, if it is sent, is valid."""
    host = headers.get(b"host")
    if host is not None and not is_valid_host(host):
        raise Malformed("`Host` must be a host name or an IP address, with an optional port.")
