"""Settings of the feed of new events, and of NATS."""

from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from msgspec import Struct

from domain.setting_types import Bytes, Count, Seconds, Secret, override_variable

SCHEMES: Final = ("nats", "tls")


class NatsServers:
    """One or more URLs of NATS servers. They may contain a password, which `str` and `repr` omit."""

    def __init__(self, text: str) -> None:
        """Parse URLs separated by commas. Raises ValueError, whose message does not quote them."""
        self._urls = tuple(part.strip() for part in text.split(",") if part.strip())
        if not self._urls or not all(_is_url(url) for url in self._urls):
            raise ValueError("must be nats://host:port or tls://host:port; separate several servers by commas")

    def __repr__(self) -> str:
        return f"NatsServers({self})"

    def __str__(self) -> str:
        return ",".join(_without_credentials(url) for url in self._urls)

    def reveal(self) -> tuple[str, ...]:
        """Return the URLs, with credentials if they have any."""
        return self._urls


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in SCHEMES and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


class FeedSettings(Struct, frozen=True, kw_only=True):
    """Delivery of new events to their followers within one process."""

    buffer_events: Count = 20_000
    """Number of recent events kept in memory; followers that are further behind read the log."""
    page_events: Count = 2_000
    """Number of events that the feed reads from the log at a time."""
    poll_seconds: Seconds = 1.0
    """How often the feed reads the log when no notification arrives."""


class PresenceSettings(Struct, frozen=True, kw_only=True):
    """Presence of people and agents in projects."""

    expiry_seconds: Seconds = 75
    """How long a person is present without a message from their client, and another process without a sign of life.
    More than a minute: browsers run the timers of pages in the background once a minute."""
    members_max: Count = 1_000
    """Maximum number of people and agents in one project and process; further people are not admitted."""


class NatsSettings(Struct, frozen=True, kw_only=True):
    """Event delivery over NATS; without `NATS_URL` processes notify each other through PostgreSQL."""

    url: Annotated[NatsServers | None, override_variable("NATS_URL")] = None
    """One or more NATS servers, `nats://` or `tls://`, separated by commas; a URL may contain user and password."""
    user: str | None = None
    """User name, if the URL has none."""
    password: Secret | None = None
    """Password of that user."""
    token: Secret | None = None
    """Token, in place of user and password."""
    ca_file: Path | None = None
    """CA certificates (PEM) that verify the servers; the system's if not set."""
    certificate_file: Path | None = None
    """Client certificate (PEM) for servers that require one."""
    key_file: Path | None = None
    """Private key of the client certificate, if that file does not contain it."""
    connect_seconds: Seconds = 5
    """Timeout of one attempt to connect to one server."""
    ping_seconds: Seconds = 10
    """Interval between pings; the connection counts as lost after two without a response."""
    patience_seconds: Seconds = 0.1
    """How long to wait for a new event to arrive over NATS before it is read from the log."""
    pending_events: Count = 20_000
    """Maximum number of received events held in memory; further events are read from the log."""
    unsent_deltas: Count = 10_000
    """Maximum number of deltas waiting to be sent; further deltas displace the oldest."""
    stream: str = "CALLSHEET"
    """Name of the JetStream stream that retains published events for subscribers."""
    stream_replicas: Count = 1
    """Number of cluster servers that store the stream: 1, 3 or 5."""
    stream_hours: Count = 168
    """Retention of the stream, in hours."""
    stream_duplicate_seconds: Seconds = 120
    """How long JetStream remembers the ids of events, to drop a second copy."""
    stream_bytes: Bytes = 1024 * 1024 * 1024
    """Maximum size of the stream in bytes; beyond it the oldest events are removed."""
    relay_page_events: Count = 1_000
    """Number of events that the relay publishes before it waits for their acknowledgements."""
    relay_ack_seconds: Seconds = 10
    """Timeout for these acknowledgements; after it the same events are published again."""
    relay_standby_seconds: Seconds = 1.0
    """How often a standby relay tries to become the active one."""
    relay_hung_seconds: Seconds = 15.0
    """How long an unresponsive relay may leave events unpublished before a standby terminates its PostgreSQL session.

    Must be longer than `CALLSHEET_NATS_RELAY_ACK_SECONDS`."""

    @property
    def servers(self) -> tuple[str, ...]:
        """URLs of the NATS servers; none if NATS is not used."""
        return () if self.url is None else self.url.reveal()

    @property
    def stream_seconds(self) -> float:
        """Return the retention of the stream, in seconds."""
        return self.stream_hours * 3_600.0
