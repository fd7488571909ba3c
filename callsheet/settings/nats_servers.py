"""The servers of NATS as a setting: one URL or several, kept out of logs, since they may hold a password."""

from typing import Final
from urllib.parse import urlsplit

SCHEMES: Final = ("nats", "tls")


class NatsServers:
    """URLs of servers; `reveal` gives them."""

    def __init__(self, text: str) -> None:
        """Read them, separated by commas. Raises ValueError when one is none; what it says quotes nothing."""
        self._urls = tuple(part.strip() for part in text.split(",") if part.strip())
        if not self._urls or not all(_is_url(url) for url in self._urls):
            raise ValueError("a server is written as nats://host:port or tls://host:port, several with commas between")

    def __repr__(self) -> str:
        return "NatsServers(...)"

    def reveal(self) -> tuple[str, ...]:
        """Give the URLs."""
        return self._urls


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in SCHEMES and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
