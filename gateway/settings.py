"""Settings of the HTTP API, and of how its callers are identified."""

from pathlib import Path

from msgspec import Struct

from domain.setting_types import Bytes, Count, Part, Port, Seconds, Secret, SigningSecret
from gateway.delivery.cors import CorsOrigins
from gateway.http.bodies import JsonBounds
from gateway.identity.issuers import IssuersFile
from gateway.limits.policies import Burst, OverridesFile, PerSecond


class HttpSettings(Struct, frozen=True, kw_only=True):
    """The HTTP API: its address, and limits of requests and responses."""

    host: str = "127.0.0.1"
    """Address to listen on; `0.0.0.0` in a container."""
    port: Port = 8000
    """Port to listen on; 0 selects a free one."""
    body_bytes_max: Bytes = 1024 * 1024
    """Maximum size of a request body in bytes; larger ones are rejected with 413."""
    upload_bytes_max: Bytes = 16 * 1024 * 1024
    """Maximum size of an uploaded image or file in bytes; larger ones are rejected with 413."""
    uploads_max: Count = 8
    """How many uploads a process reads at a time, each in memory; further ones wait."""
    json_depth_max: Count = 64
    """Maximum nesting depth of JSON in a request; deeper JSON is rejected with 400."""
    prefer_wait_seconds_max: Seconds = 60
    """Maximum time that `Prefer: wait` holds a request."""
    position_wait_seconds_max: Seconds = 5
    """How long a read waits for its read model to reach the position that the caller names."""
    page_items: Count = 50
    """Number of items per page of a list, if the caller sets no `limit`."""
    page_items_max: Count = 200
    """Maximum `limit` of a list."""
    page_bytes_max: Count = 8 * 1024 * 1024
    """Maximum size of the contents in one page of events, in bytes; a page has at least one event."""
    unread_seconds_max: Seconds = 30
    """How long a caller may take hardly anything (less than 16 KiB) of a response that waits to be sent; then the
    connection is closed."""
    unread_bytes_per_credential_max: Bytes = 64 * 1024 * 1024
    """Maximum size of the responses to one credential that wait to be sent, per process, in bytes; further large ones
    are answered with 429."""
    unread_bytes_per_workspace_max: Bytes = 128 * 1024 * 1024
    """Maximum size of the responses to one workspace that wait to be sent, per process, in bytes."""
    streams_per_credential_max: Count = 1_000
    """Maximum number of open event streams of one credential, per process; further ones are answered with 429."""
    streams_per_workspace_max: Count = 2_000
    """Maximum number of open event streams of one workspace, per process."""
    heartbeat_seconds: Seconds = 15
    """Interval between heartbeats on an idle event stream."""
    insights_days_max: Count = 366
    """Maximum number of days in one insights query."""
    insights_buckets_max: Count = 50_000
    """Maximum number of buckets that one insights query aggregates; larger queries are rejected with 422."""
    head_bytes_max: Bytes = 64 * 1024
    """Maximum size of the request line and the headers; larger ones are rejected with 431."""
    headers_max: Count = 100
    """Maximum number of header lines; more are rejected with 431."""
    request_seconds_max: Seconds = 30
    """How long a request may take to arrive whole; then it is rejected with 408."""
    json_values_max: Count = 1_000_000
    """Maximum number of values in the JSON of a request; more are rejected with 400."""
    compressed_bytes_min: Bytes = 8 * 1024
    """Smaller responses are not compressed; larger ones are, in JSON, for callers that accept gzip."""
    cors_origins: CorsOrigins | None = None
    """Origins of browsers that may read responses and open the WebSocket, separated by commas, such as
    `https://app.example.com,https://*.preview.example.com`. `*` stands for one label, and alone for any origin."""
    cors_max_age_seconds: Seconds = 7_200
    """How long browsers may keep the answer to a preflight."""
    access_log_sampled: Part = 0.01
    """Part of the successful requests that the access log has a line for, from 0 to 1. Refused and failed requests
    always have one."""
    metrics_token: Secret | None = None
    """Token that `GET /metrics` on this port requires. Without it metrics are served on the admin port only."""
    shutdown_seconds_max: Seconds = 10
    """How long open requests may take to complete after the process is told to stop."""

    @property
    def json_bounds(self) -> JsonBounds:
        """Return the bounds of the JSON in a body."""
        return JsonBounds(self.json_depth_max, self.json_values_max)


class LimitSettings(Struct, frozen=True, kw_only=True):
    """Rate limits, kept by all processes together."""

    enabled: bool = True
    """Whether requests are limited."""
    workspace_per_second: PerSecond = 2_000
    """Requests that a workspace gets back in a second."""
    workspace_burst: Burst = 10_000
    """Requests that a workspace may send at once."""
    credential_per_second: PerSecond = 1_000
    """Requests that a user or an API key gets back in a second."""
    credential_burst: Burst = 5_000
    """Requests that a user or an API key may send at once."""
    overrides_file: OverridesFile | None = None
    """JSON file with other limits for some workspaces:
    `{"ws_…": {"workspace": {"per_second": 10, "burst": 100}, "credential": {…}}}`."""
    lease_seconds: Seconds = 1
    """How long a process may use the requests that it has leased from the database. What comes back in that time is
    kept back from the burst, so that a limit is never exceeded."""
    buckets_cached_max: Count = 20_000
    """Number of workspaces, and of credentials, whose limits a process has in memory."""


class StreamSettings(Struct, frozen=True, kw_only=True):
    """Event streams, the WebSocket `/v1/streams`, and the tickets that open them."""

    ticket_seconds: Seconds = 30
    """How long a ticket of `POST /v1/streams:ticket` can be used."""
    events_cached_bytes: Bytes = 32 * 1024 * 1024
    """Size of the events that are kept encoded for server-sent events, in bytes, and of those for WebSockets."""
    runs_cached: Count = 10_000
    """Number of runs whose workflow is kept for streams that filter by workflow."""
    sockets_max: Count = 2_000
    """Maximum number of open WebSockets per workspace and process; further ones are rejected with 429."""
    subscriptions_max: Count = 100
    """Maximum number of subscriptions per WebSocket."""
    message_bytes_max: Bytes = 64 * 1024
    """Maximum size of a message of a client in bytes; a larger one closes its WebSocket with the code 1009."""
    messages_per_second: Count = 50
    """Number of messages per second that a client may send on one WebSocket; further ones are answered with errors."""
    ping_seconds: Seconds = 20
    """How often the server pings a WebSocket."""
    pong_seconds_max: Seconds = 20
    """How long a WebSocket may leave a ping unanswered; then its connection is dropped."""
    compression: bool = False
    """Whether clients may choose `permessage-deflate`, which costs 45 KB of memory per WebSocket."""
    runs_folded: Count = 2_000
    """Number of states of runs in memory that updates of runs are folded on."""
    replays_at_once: Count = 6
    """Number of streams that replay a page of the past at the same time, so that commands need not wait for all."""
    replay_gap_seconds_max: Seconds = 10
    """Longest pause between two events when a stream replays the past at a `speed`."""


class FlagSettings(Struct, frozen=True, kw_only=True):
    """Feature flags."""

    file: Path | None = None
    """JSON file with feature flags in the format of flagd. Without it every flag has its default."""
    refresh_seconds: Seconds = 5
    """How often the file is read; flags whose targeting depends on the time are evaluated as often."""


class IdentitySettings(Struct, frozen=True, kw_only=True):
    """Token verification."""

    issuers_file: IssuersFile | None = None
    """JSON file with the trusted issuers of tokens; `callsheet serve` requires it, or development tokens."""
    development_tokens: bool = False
    """Whether tokens of `callsheet token` are accepted. `callsheet dev` and `demo` always accept them."""
    jwt_secret: SigningSecret | None = None
    """Secret that signs development tokens (HS256), at least 32 characters.

    If not set, one is generated and kept in the data directory."""
    workspace_claim: str = "workspace"
    """Claim of development tokens that contains the caller's workspace id."""
    keys_refresh_seconds: Seconds = 300
    """Interval between fetches of an issuer's keys. Its old keys stay in use while it is away."""
    unknown_key_seconds: Seconds = 10
    """Minimum time between fetches for tokens with an unknown key id, and after a failed fetch."""
    fetch_seconds_max: Seconds = 5
    """Timeout of fetching an issuer's keys. Callers with a known key never wait for it."""
    key_document_bytes_max: Bytes = 256 * 1024
    """Maximum size of an issuer's metadata, and of its keys."""
    clock_skew_seconds: Seconds = 5
    """Maximum clock skew of an issuer: how far `nbf` and `iat` of a token may be in the future."""
    credential_use_seconds: Seconds = 60
    """Interval at which the last uses of API keys are written to the database."""
    owners_cached_max: Count = 100_000
    """Number of workflows, assets and runs whose project is in memory for permission checks."""
    cached_tokens_max: Count = 10_000
    """Number of verified credentials in memory; the least recently used are verified again."""
