"""The headers that every response carries, for browsers and caches."""

from collections.abc import Iterable
from typing import Final

from gateway.http.replies import Header

NO_SNIFFING: Final[Header] = (b"x-content-type-options", b"nosniff")
NO_REFERRER: Final[Header] = (b"referrer-policy", b"no-referrer")
NO_ACTIVE_CONTENT: Final[Header] = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
NO_STORE: Final[Header] = (b"cache-control", b"no-store")
REVALIDATE: Final[Header] = (b"cache-control", b"private, no-cache")
"""The caller's own cache may keep a response, and asks with If-None-Match each time."""
CLOSE: Final[Header] = (b"connection", b"close")


def list_constant_headers(vary: Iterable[str], *, revalidates: bool, is_page: bool) -> tuple[Header, ...]:
    """Return the headers of the responses of one operation; a page for browsers may run its scripts."""
    names = ", ".join(vary)
    return (
        NO_SNIFFING,
        NO_REFERRER,
        *(() if is_page else (NO_ACTIVE_CONTENT,)),
        REVALIDATE if revalidates else NO_STORE,
        *(((b"vary", names.encode()),) if names else ()),
    )


def merge_headers(own: Iterable[Header], constant: Iterable[Header]) -> list[Header]:
    """Return the headers of a response with the constant ones that it does not have itself."""
    headers = list(own)
    names = {name for name, _ in headers}
    headers += [header for header in constant if header[0] not in names]
    return headers
