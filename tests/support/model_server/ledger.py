"""The ledger of a model server: every call that reached it, as it came, and what it was answered with."""

from msgspec import Struct


class Call(Struct, frozen=True, kw_only=True):
    """One call. `body` is the request as sent; header names are in lower case."""

    protocol: str
    path: str
    behaviour: str
    headers: dict[str, str]
    body: dict[str, object]

    @property
    def idempotency_token(self) -> str | None:
        """The token that makes a repeat recognisable."""
        return self.headers.get("idempotency-key")
