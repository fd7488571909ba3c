"""Cross-origin requests of browsers (WHATWG Fetch, section 3.2): which origins may read responses, and preflights.

Callers identify themselves by a header and never by cookies, so credentials stay off.
"""

import re
from functools import lru_cache
from typing import Final

from gateway.http.headers import Headers
from gateway.http.replies import Header

ORIGIN: Final = re.compile(r"https?://[a-z0-9*.\-]+(:[0-9*]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9*]{1,5})?")
ANY: Final = "*"
ORIGINS_MAX: Final = 100
EXPOSED: Final = (
    "Callsheet-Position, Callsheet-Reset-Position, ETag, Idempotency-Replayed, Link, Location, Preference-Applied, "
    "RateLimit, RateLimit-Policy, Retry-After, WWW-Authenticate, traceparent"
)
ACCEPTED: Final = (
    "Accept, Authorization, Callsheet-Min-Position, Content-Encoding, Content-Type, Idempotency-Key, If-Match, "
    "If-None-Match, Last-Event-ID, Prefer, traceparent, tracestate"
)


class CorsOrigins:
    """Origins of browsers, separated by commas: exact ones, or with `*` for one label or a port; `*` alone is any."""

    def __init__(self, text: str = "") -> None:
        """Parse the setting. Raises ValueError."""
        self.patterns = tuple(part.strip().lower() for part in text.split(",") if part.strip())
        if len(self.patterns) > ORIGINS_MAX:
            raise ValueError(f"must list at most {ORIGINS_MAX} origins")
        for pattern in self.patterns:
            if pattern != ANY and not ORIGIN.fullmatch(pattern):
                raise ValueError(f"`{pattern}` must be an origin such as `https://app.example.com`, without a path")

    def __bool__(self) -> bool:
        """Return whether any origin is listed."""
        return bool(self.patterns)

    def __repr__(self) -> str:
        return ",".join(self.patterns)


class Cors:
    """The headers of responses to origins that may read them."""

    def __init__(self, listed: CorsOrigins | None, max_age_seconds: float) -> None:
        """Create it; browsers may keep the answer to a preflight for `max_age_seconds`."""
        origins = listed or CorsOrigins()
        self.is_enabled = bool(origins)
        self._allows_any = ANY in origins.patterns
        pattern = "|".join(re.escape(each).replace(r"\*", "[a-z0-9-]+") for each in origins.patterns)
        self._pattern = re.compile(pattern)
        self._max_age = b"%d" % max_age_seconds
        self.list_fields = lru_cache(maxsize=1_000)(self._list_fields)

    def _list_fields(self, origin: bytes | None) -> tuple[Header, ...]:
        """Return the headers of every response to an origin, none if it may not read responses."""
        if origin is None or not self.is_allowed(origin):
            return ()
        return (
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", EXPOSED.encode()),
        )

    def is_allowed(self, origin: bytes) -> bool:
        """Return whether pages of an origin may use the API."""
        text = origin.decode("latin-1")
        return self.is_enabled and (self._allows_any or self._pattern.fullmatch(text) is not None)

    def list_preflight_fields(self, headers: Headers, methods: str) -> list[Header]:
        """Return the further headers of the answer to a preflight; none if the request is not one."""
        if b"access-control-request-method" not in headers or not self.list_fields(headers.get(b"origin")):
            return []
        return [
            (b"access-control-allow-methods", methods.encode()),
            (b"access-control-allow-headers", ACCEPTED.encode()),
            (b"access-control-max-age", self._max_age),
        ]
